"""What runs in a frame: a component loaded once, then called: decode, steps before, compute, steps after, draw, encode.

`python -m modelyard.serving` is a frame; `python -m modelyard.serving.probe` finds out by a run what the files did not
say. Needs the standard library and numpy; what a format, a step, a codec or a drawing needs beyond that is imported
where it is used, and is a requirement of model.yaml. Nothing of the service: an environment has no
msgspec and no protobuf.
"""
