"""Content types and the codecs that read them. Standard library only."""

from __future__ import annotations

from modelyard.serving.errors import InvalidValue

ARROW_STREAM = "application/vnd.apache.arrow.stream"
ARROW_FILE = "application/vnd.apache.arrow.file"
CSV = "text/csv"
JSON = "application/json"
PNG = "image/png"
TEXT = "text/plain"
ANYTHING = "application/octet-stream"

_CODECS = {
    ARROW_STREAM: "table", ARROW_FILE: "table", CSV: "table", "text/tab-separated-values": "table",
    JSON: "json", TEXT: "text", ANYTHING: "file",
    # The words that other clients of the protocol use.
    "np": "tensor", "str": "text", "pd": "table", "raw": "tensor", "image": "image", "json": "json",
}  # fmt: skip


def codec_of(content_type: str, field: str) -> str:
    """By a content type, with or without parameters. Raises InvalidValue for one that nothing reads."""
    plain = content_type.split(";", 1)[0].strip().lower()
    if plain.startswith("image/"):
        return "image"
    if plain.endswith("+json"):
        return "json"
    if plain not in _CODECS:
        known = ", ".join([*list(_CODECS)[:7], "image/png …"])
        raise InvalidValue(f"nothing reads the content type {plain[:80]!r}; one of {known}", field)
    return _CODECS[plain]
