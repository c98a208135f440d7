"""Triggers: what starts runs by itself, and runs for the times of a schedule that have passed."""
