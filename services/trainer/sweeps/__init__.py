"""What is decided about a sweep, pure: which trials begin, which end early, when it is over. Knows no row."""
