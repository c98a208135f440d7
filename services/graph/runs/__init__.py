"""Runs and what is decided about them, pure: events in, effects out. Knows no row, message or clock."""
