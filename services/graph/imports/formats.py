"""The formats by name: finding out which one a document has, reading it, writing it (points N5, S1.1).

Owns two promises. What we export and import again is the canvas it was, whatever the form can say: what it cannot
say travels in the form's own place for extensions, under "modelyard", and a program that leaves that place alone
may change the rest. And what was imported and not changed is exported as it came: the canvas keeps the text in its
extra "origin".

Nothing of a document is executed. Pure.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from services.graph.canvases import document as own
from services.graph.canvases.canvas import Canvas
from services.graph.canvases.operators import Catalogue
from services.graph.canvases.problems import suggestion
from services.graph.imports import bundles, comfyui, comfyui_prompt, elyra, kfp, react_flow, wfformat
from services.graph.imports.format import Format
from services.graph.imports.merging import differences, merged
from services.graph.imports.parsing import parse, parse_json_text
from services.graph.imports.report import Finding, ImportRefused, Need, Report
from services.graph.model import FormatUnknown

OWN = "canvas"
FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        comfyui.FORMAT,
        comfyui_prompt.FORMAT,
        react_flow.FORMAT,
        wfformat.FORMAT,
        elyra.FORMAT,
        kfp.FORMAT,
    )
}
EXTENSION = "modelyard"
ORIGIN = "origin"
ORIGIN_BYTES_MOST = 1 << 20


class Imported(msgspec.Struct, frozen=True):
    """A canvas, what it was read from, what was not understood, and which nodes need a bundle, given or not."""

    canvas: Canvas
    format: str
    findings: tuple[Finding, ...]
    needs: tuple[Need, ...] = ()


def names() -> list[str]:
    """Every format, our own first."""
    return [OWN, *FORMATS]


def read(
    document: bytes, name: str = "", operators: Catalogue | None = None, bundle_digest: str = ""
) -> Imported:
    """The canvas of a document of that format, or of the one that it looks like.

    `operators` are those that agents offer: what they do not have becomes a placeholder. The bundle is given to the
    nodes that need one. Raises ImportRefused, FormatUnknown. Idempotent.
    """
    found = _read(document, name, operators)
    needs = bundles.needs(found.canvas, found.needs)
    return Imported(
        bundles.given(found.canvas, needs, bundle_digest) if bundle_digest else found.canvas,
        found.format,
        bundles.findings(needs, found.findings, is_given=bool(bundle_digest)),
        needs,
    )


def _read(document: bytes, name: str, operators: Catalogue | None) -> Imported:
    value = parse(document)
    if name == OWN or (not name and isinstance(value, dict) and value.get("format") == own.FORMAT):
        return _read_own(document)
    chosen = _chosen(name, value)
    report = Report()
    value, kept = _taken(value, chosen.extension)
    canvas = chosen.read(value, report, operators or {})
    if kept is not None:
        canvas = _restored(chosen, canvas, kept, report, operators or {})
    else:
        canvas = _with_origin(canvas, chosen.name, value, report)
    return Imported(canvas, chosen.name, report.all(), report.needs)


def write(canvas: Canvas, name: str, operators: Catalogue | None = None) -> tuple[bytes, tuple[Finding, ...]]:
    """The canvas as a document of that format, and what the format itself cannot say. Raises FormatUnknown."""
    if name in ("", OWN):
        return own.write(canvas), ()
    chosen = _known(name)
    value, is_origin = _natural(canvas, chosen, operators or {})
    said = chosen.read(value, Report(), operators or {})
    if is_origin and said == _without_origin(canvas):
        return _encoded(value), ()
    report = Report()
    for path, what, node in differences(canvas, said):
        if path != "extra":
            report.add(path, f"{name} cannot say {what}; it is kept under {EXTENSION!r}", node)
    return _encoded(
        _given(chosen.envelope(value), chosen.extension, own.write(canvas).decode())
    ), report.all()


def _read_own(document: bytes) -> Imported:
    try:
        canvas, problems = own.read(document)
    except own.DocumentUnreadable as error:
        raise ImportRefused(str(error), field="document") from error
    found = tuple(
        Finding(f"{each.node} {each.edge} {each.field}".strip(), each.message, each.node) for each in problems
    )
    return Imported(canvas, OWN, found)


def _chosen(name: str, value: Any) -> Format:
    if name:
        chosen = _known(name)
        if chosen.recognises(value):
            return chosen
        other = next((each for each in FORMATS.values() if each.recognises(value)), None)
        # ComfyUI has two forms, and people rarely know which one they have.
        if other is not None and other.family and other.family == chosen.family:
            return other
        raise ImportRefused(
            f"the document does not look like {name}" + (f", but like {other.name}" if other else ""),
            field="document",
            next_step="leave the format out: it is found out",
        )
    for each in FORMATS.values():
        if each.recognises(value):
            return each
    raise FormatUnknown(
        "the document has none of the forms that are known",
        field="format",
        next_step=f"known are: {', '.join(names())}",
    )


def _known(name: str) -> Format:
    found = FORMATS.get(name)
    if found is None:
        raise FormatUnknown(
            f"there is no format {name[:60]!r}", field="format",
            next_step=suggestion(name, names(), f"known are: {', '.join(names())}"),
        )  # fmt: skip
    return found


def _restored(chosen: Format, canvas: Canvas, kept: str, report: Report, operators: Catalogue) -> Canvas:
    """The canvas that was exported, with what has been changed since."""
    path = ".".join((*chosen.extension, EXTENSION))
    try:
        before, problems = own.read(kept)
    except own.DocumentUnreadable:
        report.add(path, "is not a canvas; left out")
        return canvas
    if problems:
        report.add(path, f"is not a canvas that was exported: {problems[0].message}; left out")
        return canvas
    base = chosen.read(_natural(before, chosen, operators)[0], Report(), operators)
    if base == canvas:
        report.clear()
        return before
    report.add(path, "has been changed since it was exported; what the form can say was taken from it")
    return merged(before, base, canvas)


def _with_origin(canvas: Canvas, name: str, value: Any, report: Report) -> Canvas:
    text = msgspec.json.encode(value)
    if len(text) > ORIGIN_BYTES_MOST:
        report.add("", "is too large to be kept as it came; an export will have what the canvas has")
        return canvas
    return replace(canvas, extra={**canvas.extra, ORIGIN: {"format": name, "document": text.decode()}})


def _natural(canvas: Canvas, chosen: Format, operators: Catalogue) -> tuple[Any, bool]:
    """What the form itself says of the canvas, and whether that is the document that the canvas came from."""
    origin = canvas.extra.get(ORIGIN)
    if isinstance(origin, dict) and origin.get("format") == chosen.name:
        value = parse_json_text(str(origin.get("document")))
        if chosen.recognises(value):
            said = chosen.read(value, Report(), operators)
            if _undated(said) == _undated(_without_origin(canvas)):
                return value, True
    return chosen.write(canvas), False


def _without_origin(canvas: Canvas) -> Canvas:
    return replace(canvas, extra={key: each for key, each in canvas.extra.items() if key != ORIGIN})


def _undated(canvas: Canvas) -> Canvas:
    """Without what the service gives a node when it is saved."""
    return replace(
        canvas,
        nodes=tuple(replace(node, drag_in_time_ns=0, drag_sequence=0) for node in canvas.nodes),
        subgraphs={
            name: replace(subgraph, canvas=_undated(subgraph.canvas))
            for name, subgraph in canvas.subgraphs.items()
        },
    )


def _taken(value: Any, path: tuple[str, ...]) -> tuple[Any, str | None]:
    """The document without our extension, and what that was."""
    if not isinstance(value, dict):
        return value, None
    if path:
        if path[0] not in value:
            return value, None
        inner, kept = _taken(value[path[0]], path[1:])
        if kept is None:
            return value, None
        rest = {key: each for key, each in value.items() if key != path[0]}
        return ({**value, path[0]: inner} if inner else rest), kept
    kept = value.get(EXTENSION)
    if not isinstance(kept, str):
        return value, None
    return {key: each for key, each in value.items() if key != EXTENSION}, kept


def _given(value: Any, path: tuple[str, ...], kept: str) -> Any:
    if not path:
        return {**value, EXTENSION: kept}
    return {**value, path[0]: _given(value.get(path[0], {}), path[1:], kept)}


def _encoded(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1)
