"""Between values and messages."""
