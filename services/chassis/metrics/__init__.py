"""What a service counts, and where it is read."""
