"""Words of the command line as str, int, float and lists of str, without what Typer would load for it.

Typer converts through pydantic, whose import takes as long as the rest of a short command. Owns a converter for
the four kinds that our commands use, and what help calls their values; other annotations stay with Typer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typer import BadParameter, Context
from typer.core import TyperGroup

_KINDS: dict[Any, Callable[[str], Any]] = {str: str, int: int, float: float, bool: bool}
_NAMES = {int: "a whole number", float: "a number"}
_METAVARS = {str: "TEXT", int: "N", float: "NUMBER"}
_KNOWN = {
    "account": "NAME", "contact": "NAME", "dir": "DIR", "env": "k=v", "idempotency_key": "UUID", "image": "IMAGE",
    "input": "NAME=…", "into": "DIR", "keep": "GLOB", "label": "k=v", "name": "NAME", "node": "NODE",
    "param": "k=v", "pool": "NAME", "queue": "NAME", "requirements": "FILE", "save": "DIR",
    "tag": "k=v", "version": "VERSION",
}  # fmt: skip
"""Of options that mean the same wherever they are."""


class _Plain:
    """Stands in for Typer's runtime parameter."""

    def __init__(self, kind: Any, many: bool) -> None:
        self._kind = kind
        self._many = many

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if value is None:
            return () if self._many else None
        if self._many:
            return tuple(self._one(item, param, ctx) for item in value)
        return self._one(value, param, ctx)

    def _one(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            return _KINDS[self._kind](value)
        except ValueError as error:
            raise BadParameter(f"{value!r} is not {_NAMES[self._kind]}.", ctx=ctx, param=param) from error


def _name_value(param: Any, annotation: Any) -> None:
    """--dir DIR rather than --dir <str>; PROJECT rather than {project} <str>, also in what is said of mistakes."""
    if param.param_type_name == "argument":
        shown = param.metavar = param.metavar or param.name.upper().replace("_", "-")
        many = shown if param.nargs == 1 or shown.endswith("…") else f"{shown} …"
        piece = many if param.required or many.startswith("[") else f"[{many}]"
        param.get_usage_pieces = lambda ctx: [piece]
        param.display_type_rich = lambda ctx: ""
    elif param.metavar is None and annotation is not bool:
        kind = str if annotation == list[str] else annotation
        param.metavar = _KNOWN.get(param.name, _METAVARS[str]) if kind is str else _METAVARS.get(kind)


def convert_plainly(command: Any) -> None:
    """Gives every plain parameter of a command, or of a group's commands, the converter above."""
    for param in command.get_params(Context(command)):
        descriptor = getattr(param, "type_descriptor", None)
        if descriptor is None:
            continue
        annotation = descriptor.annotation
        if annotation in _KINDS:
            param._runtime_param = _Plain(annotation, param.multiple or param.nargs == -1)
        elif annotation == list[str]:
            param._runtime_param = _Plain(str, many=True)
        _name_value(param, annotation)
    if isinstance(command, TyperGroup):
        for child in filter(None, command.commands.values()):
            convert_plainly(child)
