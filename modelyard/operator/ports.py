"""Ports of an operator: what flows in and out beside its parameters.

Owns the words that a signature uses for them. Must not read or write anything.
"""

from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

T = TypeVar("T")


class InputMarker:
    """Marks a parameter as an input port; see `Input`."""


Input = Annotated[T, InputMarker()]
"""``data: Input[bytes]`` is an input port of that name. ``bytes`` and ``str`` get the content, ``Path`` a
file that holds it, anything else the content decoded as JSON."""


class File:
    """A file that an operator returns; relative paths are below the task's directory.

    Alone it is the output ``result``; in a dictionary it is the output of its key. It is kept as an
    artefact after the call has ended, so it must not be removed by the operator.
    """

    __slots__ = ("path",)

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(fspath(path))

    def __repr__(self) -> str:
        return f"File({str(self.path)!r})"


class Port(NamedTuple):
    """One input or output. ``type`` is "json", "text", "bytes" or "file"."""

    name: str
    type: str
    required: bool = True


_TYPES: dict[Any, str] = {bytes: "bytes", str: "text", Path: "file", File: "file"}


def port_type(annotation: Any) -> str:
    """The contract's word for what an annotated port carries."""
    return _TYPES.get(annotation, "json")
