"""Tasks of this machine and what is decided about them, pure: one event in, effects out."""
