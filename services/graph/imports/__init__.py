"""Canvases of other tools: read into our own, and written in their form (one module a format)."""
