"""`yard graph`: canvases and their runs."""
