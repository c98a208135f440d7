"""What a model answered, for people and programs: a table, JSON, or files. Imports nothing heavy."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import exit_codes
from cli.errors import CommandError
from modelyard.packing import nested, unpack, write_npy

if TYPE_CHECKING:
    from cli.inputs.values import Taken
    from modelyard.oip.v2.inference_pb2 import ModelInferResponse

ROWS_SHOWN = 1_000
CELL_MOST = 60
DRAWING = "viz:"
_JSON, _TEXT = "application/json", "text/plain"
_ENDINGS = {
    "image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp", "image/bmp": ".bmp",
    "image/svg+xml": ".svg", "text/html": ".html", "application/vnd.vegalite.v5+json": ".vl.json", _JSON: ".json",
    _TEXT: ".txt", "text/csv": ".csv", "application/vnd.apache.arrow.stream": ".arrow",
}  # fmt: skip
_CONTENTS = (
    "bool_contents", "int_contents", "int64_contents", "uint_contents", "uint64_contents", "fp32_contents",
    "fp64_contents", "bytes_contents",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Got:
    """An output as it came: its elements in order, bytes for BYTES."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any]
    data: bytes = b""
    """Packed; empty if it came otherwise."""
    content_type: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_content(self) -> bool:
        """A picture, a table, a file: one element that is no text to be read."""
        return self.datatype == "BYTES" and self.content_type not in ("", _TEXT, _JSON)

    @property
    def plain(self) -> Any:
        """As JSON has it: lists within lists, texts, what JSON says; of contents their type and base64."""
        if self.is_content:
            found = [_content(one, self.content_type) for one in self.values]
            return found[0] if len(found) == 1 else found
        if self.content_type == _JSON:
            said = [_parsed(one) for one in self.values]
            return said[0] if len(said) == 1 else said
        return nested([_plain(one) for one in self.values], self.shape)


def read_answer(response: ModelInferResponse) -> list[Got]:
    """The outputs of a response, raw or typed. Raises CommandError: it is not whole."""
    found = []
    for place, output in enumerate(response.outputs):
        parameters = {
            name: getattr(value, value.WhichOneof("parameter_choice") or "string_param")
            for name, value in output.parameters.items()
        }
        kind, shape = str(parameters.get("content_type") or ""), tuple(output.shape)
        data = response.raw_output_contents[place] if place < len(response.raw_output_contents) else b""
        try:
            values = unpack(output.datatype, data) if response.raw_output_contents else _typed(output)
            nested(values, shape)
        except ValueError as error:
            raise CommandError(f"output {output.name}: {error}", code=exit_codes.WORK_FAILED) from error
        found.append(Got(output.name, output.datatype, shape, values, data, kind, parameters))
    return found


def _typed(output: ModelInferResponse.InferOutputTensor) -> list[Any]:
    found = next((values for name in _CONTENTS if (values := getattr(output.contents, name))), ())
    return list(found)


def _content(one: bytes, kind: str) -> dict[str, Any]:
    return {"content_type": kind, "base64": base64.b64encode(one).decode()}


def _parsed(one: bytes) -> Any:
    try:
        return json.loads(one)
    except (ValueError, RecursionError):
        return _plain(one)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    # JSON has no NaN.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def document(outputs: Sequence[Got], saved: Mapping[str, Sequence[Path]] | None = None) -> dict[str, Any]:
    """{output: value}; of what was saved the files instead of its bytes."""
    found: dict[str, Any] = {}
    for one in outputs:
        files = list(map(str, (saved or {}).get(one.name, ())))
        content = {"content_type": one.content_type, "file": files[0] if len(files) == 1 else files}
        found[one.name] = content if files and one.is_content else one.plain
    return found


def table(outputs: Sequence[Got], given: Sequence[Taken] = ()) -> tuple[list[str], list[list[str]]]:
    """Titles and rows: a column for each output of one row a value, one for each of their columns else.

    Outputs of other shapes, pictures and files are left out: `remarks` tells of them.
    """
    shown = [one for one in outputs if _is_tabular(one)]
    count = max((one.shape[0] for one in shown), default=0)
    specs = {one.name: one for one in given}
    titles: list[str] = []
    columns: list[list[str]] = []
    for one in shown:
        if one.shape[0] == count:
            width = one.shape[1] if len(one.shape) == 2 else 1
            titles += _titles(one, specs.get(one.name), width)
            columns += [[_cell(value) for value in one.values[at::width]][:ROWS_SHOWN] for at in range(width)]
    return titles, [list(row) for row in zip(*columns, strict=True)]


def _is_tabular(one: Got) -> bool:
    return (
        len(one.shape) in (1, 2)
        and 0 not in one.shape
        and not one.is_content
        and one.content_type != _JSON
        and (len(one.shape) == 1 or one.shape[1] <= 50)
    )


def _titles(one: Got, spec: Taken | None, width: int) -> list[str]:
    names = (spec.columns or spec.labels) if spec is not None else ()
    if len(names) == width and width > 1:
        return [f"{one.name}.{name}" for name in names]
    return [one.name] if width == 1 else [f"{one.name}.{at}" for at in range(width)]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= CELL_MOST else text[: CELL_MOST - 1] + "…"


def remarks(
    outputs: Sequence[Got], saved: Mapping[str, Sequence[Path]] | None = None
) -> list[tuple[str, str]]:
    """Name and words of each output that is in no table."""
    in_table = {one.name for one in outputs if _is_tabular(one)}
    count = max((one.shape[0] for one in outputs if one.name in in_table), default=0)
    found = []
    for one in outputs:
        files = ", ".join(map(str, (saved or {}).get(one.name, ())))
        if one.is_content:
            size = sum(map(len, one.values))
            found.append(
                (
                    one.name,
                    f"{one.content_type}, {size} bytes" + (f" → {files}" if files else " (--save DIR)"),
                )
            )
        elif one.name not in in_table or one.shape[0] != count:
            text = json.dumps(one.plain, ensure_ascii=False)
            shape = "" if one.content_type else f"{one.datatype} {list(one.shape)} "
            found.append((one.name, text if len(text) <= 2_000 else f"{shape}{text[:200]} … (--save DIR)"))
        elif one.shape[0] > ROWS_SHOWN:
            found.append(
                (one.name, f"the first {ROWS_SHOWN} of {one.shape[0]} rows (-o json or --save DIR has all)")
            )
    return found


def save(outputs: Sequence[Got], folder: Path) -> dict[str, list[Path]]:
    """Writes every output into the folder, which is made: pictures and the like as they came, numbers as .npy.

    Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Path]] = {}
    names: set[str] = set()
    for one in outputs:
        stem = _stem(one.name, names)
        files = found[one.name] = []
        for ending, content in _files(one):
            path = folder / f"{stem}{ending}"
            path.write_bytes(content)
            files.append(path)
    return found


def _stem(name: str, used: set[str]) -> str:
    """A name for a file, whatever the server calls the output."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", name.removeprefix(DRAWING)).strip("._")[:80] or "output"
    while stem in used:
        stem += "_"
    used.add(stem)
    return stem


def _files(one: Got) -> list[tuple[str, bytes]]:
    if one.is_content or one.content_type == _JSON:
        ending = _ENDINGS.get(one.content_type.split(";", 1)[0].strip(), ".bin")
        if len(one.values) == 1:
            return [(ending, one.values[0])]
        return [(f"-{at}{ending}", value) for at, value in enumerate(one.values)]
    if one.datatype == "BYTES":
        if len(one.values) == 1:
            return [(".txt", one.values[0])]
        return [(".json", json.dumps(one.plain, ensure_ascii=False).encode() + b"\n")]
    if one.datatype == "BF16":
        return [(".json", json.dumps(one.plain).encode() + b"\n")]
    from modelyard.packing import pack

    return [(".npy", write_npy(one.datatype, one.shape, one.data or pack(one.datatype, one.values)))]
