"""What stays on disk here: what tasks leave, what the next may use, what a later agent process must know."""
