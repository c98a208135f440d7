"""Processes forked from one that has imported what they need."""
