"""Between what callers give – JSON, texts, pictures, tables, files – and arrays, by what model.yaml declares."""

from modelyard.serving.codecs.conversion import decode, encode

__all__ = ["decode", "encode"]
