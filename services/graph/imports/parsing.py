"""Bytes of strangers as plain JSON values, in bounded time.

Owns every limit that a document meets before anything looks at what it means: size, depth, types, numbers that JSON
does not have, anchors of YAML. Nothing of a document is executed. Pure.
"""

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from services.graph.canvases.problems import shown
from services.graph.imports.report import ImportRefused
from services.graph.model import DOCUMENT_BYTES_MOST

DEPTH_MOST = 28
"""How deep values may lie within each other: what is kept of them has to fit into a canvas."""
YAML_BYTES_MOST = 4 << 20
VALUES_MOST = 2_000_000


def parse(document: bytes) -> Any:
    """The value of a JSON document, or of a YAML document where it is none. Raises ImportRefused."""
    if len(document) > DOCUMENT_BYTES_MOST:
        raise ImportRefused(
            f"the document has {len(document)} bytes, and {DOCUMENT_BYTES_MOST >> 20} MiB are the most",
            field="document",
        )
    beginning = document[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not beginning:
        raise ImportRefused("the document is empty", field="document")
    value = _json(document) if beginning[:1] in b"{[" else _yaml(document)
    _check(value)
    return value


def parse_json_text(text: str) -> Any:
    """The value of a JSON text that we wrote ourselves; None: somebody changed it so that it is none."""
    try:
        value = msgspec.json.decode(text)
        _check(value)
    except (msgspec.MsgspecError, RecursionError, ImportRefused):
        return None
    return value


def _json(document: bytes) -> Any:
    try:
        return msgspec.json.decode(document.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise ImportRefused(f"the document is not JSON: {error}", field="document") from error
    except RecursionError as error:
        raise ImportRefused("the document is nested too deeply", field="document") from error


class _Loader(yaml.CSafeLoader):
    """YAML as JSON has it: no dates, no merges."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.rpartition(":")[2] in ("null", "bool", "int", "float")
    ]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _yaml(document: bytes) -> Any:
    if len(document) > YAML_BYTES_MOST:
        raise ImportRefused(
            f"the document has {len(document)} bytes, and {YAML_BYTES_MOST >> 20} MiB of YAML are the most",
            field="document",
            next_step="write it as JSON",
        )
    try:
        _check_events(document)
        values = list(yaml.load_all(document, _Loader))
    except yaml.YAMLError as error:
        raise ImportRefused(
            f"the document is neither JSON nor YAML: {shown(' '.join(str(error).split()), 200)}",
            field="document",
        ) from error
    except (ValueError, RecursionError, UnicodeError) as error:
        raise ImportRefused(
            f"the document is not YAML: {shown(str(error), 200)}", field="document"
        ) from error
    # A second document of a pipeline tells about platforms only.
    return values[0] if values else None


def _check_events(document: bytes) -> None:
    depth = 0
    for count, event in enumerate(yaml.parse(document, _Loader)):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ImportRefused(
                "the document has an anchor or an alias, which are not read",
                field="document",
                next_step="write out what it stands for",
            )
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            depth += 1
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            depth -= 1
        if depth > DEPTH_MOST:
            raise ImportRefused(f"values lie more than {DEPTH_MOST} deep within each other", field="document")
        if count > VALUES_MOST:
            raise ImportRefused(f"the document has more than {VALUES_MOST} values", field="document")


def _check(value: Any) -> None:
    """Refuses what JSON does not have, and what is too deep or too much; without recursion."""
    level, count = [value], 0
    for _ in range(DEPTH_MOST + 1):
        below: list[Any] = []
        for one in level:
            below.extend(_inner(one))
        count += len(level)
        if count > VALUES_MOST:
            raise ImportRefused(f"the document has more than {VALUES_MOST} values", field="document")
        if not below:
            return
        level = below
    raise ImportRefused(f"values lie more than {DEPTH_MOST} deep within each other", field="document")


def _inner(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ImportRefused(f"a key is {shown(repr(key))}, and keys are text", field="document")
        yield from value.values()
    elif isinstance(value, list):
        yield from value
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ImportRefused("the document has a number with more than 64 bits", field="document")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ImportRefused(
            f"the document has the number {value}, which JSON does not have", field="document"
        )
    elif not isinstance(value, str | int | float | None):
        raise ImportRefused(
            f"the document has a {type(value).__name__}, which JSON does not have", field="document"
        )
