"""The yard command line."""
