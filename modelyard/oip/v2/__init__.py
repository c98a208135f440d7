"""Generated from protos/modelyard/oip/v2; see protos/generate.py."""
