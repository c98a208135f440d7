"""Generated from protos/modelyard/v1; see protos/generate.py."""
