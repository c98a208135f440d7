"""Field masks: which fields a request means, and their values taken over. Knows no message by name. Pure.

Paths are those of AIP-161 without wildcards: names joined by dots. A path that names a group stands for all known
paths below it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from modelyard.nearest import nearest
from services.chassis.errors import InvalidArgument

if TYPE_CHECKING:
    from google.protobuf.message import Message


class UnknownPath(InvalidArgument):
    """The mask names a field that cannot be changed."""


class EmptyMask(InvalidArgument):
    """The request names nothing to change."""


def check_paths(paths: Iterable[str], known: Collection[str], field: str) -> tuple[str, ...]:
    """The known paths that a mask means, each once, in their known order. Raises `UnknownPath`, `EmptyMask`."""
    meant: set[str] = set()
    for path in paths:
        covered = {one for one in known if one == path or one.startswith(f"{path}.")}
        if not path or not covered:
            raise _unknown(path, known, field)
        meant |= covered
    if not meant:
        raise EmptyMask(field=field, next_step=f"choose of {', '.join(known)}")
    return tuple(path for path in known if path in meant)


def _unknown(path: str, known: Collection[str], field: str) -> UnknownPath:
    near = nearest(path, known)
    hint = f"did you mean {near}? " if near else ""
    return UnknownPath(
        f"{field}: {path[:80]!r} cannot be changed", field=field,
        next_step=f"{hint}choose of {', '.join(known)}", metadata={"path": path[:80]},
    )  # fmt: skip


def set_paths(message: Message, known: Iterable[str]) -> tuple[str, ...]:
    """The known paths that have a value in a message: what a request without a mask means."""
    return tuple(path for path in known if _is_set(message, path))


def copy_paths(source: Message, target: Message, paths: Iterable[str]) -> None:
    """Takes over the values of fields that both have under the same paths; what is unset there is unset here too."""
    for path in paths:
        *groups, name = path.split(".")
        here, there = source, target
        for group in groups:
            here, there = getattr(here, group), getattr(there, group)
        there.ClearField(name)
        if not _is_set(here, name):
            continue
        value = getattr(here, name)
        if hasattr(value, "MergeFrom"):
            getattr(there, name).MergeFrom(value)
        else:
            setattr(there, name, value)


def _is_set(message: Message, path: str) -> bool:
    name, _, rest = path.partition(".")
    value = next((value for field, value in message.ListFields() if field.name == name), None)
    return value is not None and (not rest or _is_set(value, rest))
