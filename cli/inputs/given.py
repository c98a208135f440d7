"""What people have – rows, pictures, arrays, texts – as the tensors that a model takes: the reading of `--input`.

By the model's metadata: names, types, shapes, columns, content types. What comes back is `cli.output.answers`. Imports
nothing heavy: pyarrow where a table in Arrow has to be looked into.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cli.errors import UsageError
from cli.inputs.files import converted
from cli.inputs.values import Given, Sent, Taken

FILE_BYTES_MOST = 1 << 30


def read_inputs(given: Sequence[str], taken: Iterable[Taken]) -> list[Sent]:
    """Of `name=value`, `name=@file`, `name=@-`; without a name where the model has one input.

    A value is JSON, numbers between commas, or a text; `@@` stands for an @ at its beginning. Several inputs at once:
    a JSON file {name: value}, as `@file.json`. Raises UsageError (how it is written), CommandError (what is in it).
    """
    by_name = {one.name: one for one in taken}
    found: dict[str, Sent] = {}
    for item in given:
        for name, what in _split(item, by_name):
            if name in found:
                raise UsageError(f"input {name!r} is given twice")
            found[name] = converted(by_name[name], what)
    missing = [one for one in by_name.values() if one.name not in found and not one.is_optional]
    if missing:
        raise UsageError(
            f"the model needs {'; '.join(one.words for one in missing)}",
            next_step=f"--input {missing[0].name}=@FILE, or {missing[0].name}=JSON",
        )
    return [found[name] for name in by_name if name in found]


def _split(item: str, taken: dict[str, Taken]) -> Iterable[tuple[str, Given]]:
    names = sorted((name for name in taken if item.startswith(f"{name}=")), key=len, reverse=True)
    if names:
        yield names[0], _given(item[len(names[0]) + 1 :])
        return
    is_bare = item.startswith(("@", "[", "{")) or "=" not in item
    whole = _given(item) if is_bare else None
    if whole is not None and (several := _of_several(whole, taken)) is not None:
        for name, value in several.items():
            yield name, Given(json.dumps(value).encode(), f"{whole.source or 'JSON'}")
        return
    if whole is None or len(taken) != 1:
        said = item.split("=", 1)[0][:60]
        known = "; ".join(one.words for one in taken.values()) or "none"
        message = (
            f"say for which input {said!r} is" if whole is not None else f"the model has no input {said!r}"
        )
        raise UsageError(message, next_step=f"--input NAME=VALUE; its inputs are {known}")
    yield next(iter(taken)), whole


def _of_several(given: Given, taken: dict[str, Taken]) -> dict[str, Any] | None:
    """A mapping whose names are those of inputs; None: it is something else."""
    if given.ending not in ("", ".json") or given.content.lstrip()[:1] != b"{":
        return None
    try:
        value = json.loads(given.content)
    except (ValueError, RecursionError):
        return None
    # A single input may be a mapping itself.
    is_one = len(taken) == 1 and not set(value) <= set(taken)
    return value if not is_one and value and set(value) <= set(taken) else None


def _given(text: str) -> Given:
    if text.startswith("@@"):
        return Given(text[1:].encode())
    if not text.startswith("@"):
        return Given(text.encode())
    name = text[1:]
    if name == "-":
        return Given(sys.stdin.buffer.read(FILE_BYTES_MOST), "-")
    path = Path(name).expanduser()
    try:
        if path.stat().st_size > FILE_BYTES_MOST:
            raise UsageError(f"{name} has more than {FILE_BYTES_MOST >> 20} MiB", next_step="send fewer rows")
        return Given(path.read_bytes(), name)
    except OSError as error:
        raise UsageError(
            f"{name}: {error.strerror}", next_step="a text with @ in front is written @@text"
        ) from error
