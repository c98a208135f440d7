"""What is decided about a job, pure: its turn, its places, who starts, what an end means. Knows no row or message."""
