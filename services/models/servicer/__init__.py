"""The RPCs of the models service."""
