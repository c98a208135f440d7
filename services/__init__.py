"""The services; each in its own process."""
