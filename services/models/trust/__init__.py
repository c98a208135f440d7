"""Whose components may do what opening them does: the server's own lists, as words and as a file."""
