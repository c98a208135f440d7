"""A yard in one file and back."""
