"""What runs in a frame: a component loaded once, then called: decode, steps before, compute, steps after, draw, encode.

Needs the standard library and numpy; what a format, a step, a codec or a drawing needs beyond that is imported where it
is used, and is a requirement of model.yaml.
"""
