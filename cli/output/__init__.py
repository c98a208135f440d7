"""How results are shown: one renderer for every format. Results go to stdout, messages to stderr."""
