"""Finds operators by name.

Owns the three places where one can be: the catalogue, an installed package's entry points (group
``modelyard.operators``), and "package.module:function" in a bundle or environment.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from modelyard.catalog import OPERATORS, describe_all, function_of
from modelyard.nearest import nearest
from modelyard.operator.declaration import Operator, declared, describe

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "modelyard.operators"


class OperatorNotFound(LookupError):
    """There is no such operator here."""


def find(name: str) -> Operator:
    """The operator of that name. Raises `OperatorNotFound`, also when its module cannot be imported."""
    if ":" in name:
        return _load(name, name)
    if name in OPERATORS:
        return declared(function_of(name))
    entries = {entry.name: entry for entry in _entry_points()}
    if name in entries:
        return _load(name, entries[name].value)
    near = nearest(name, [*OPERATORS, *entries])
    hint = f"did you mean {near!r}?" if near else "write package.module:function for one in the bundle"
    raise OperatorNotFound(f"there is no operator {name!r} here; {hint}")


def installed() -> list[dict[str, Any]]:
    """Descriptions of the catalogue and of every entry point that loads, by name.

    An entry point that does not load is left out: it fails, with its reason, where it is called.
    """
    known = {description["name"]: description for description in describe_all()}
    for entry in _entry_points():
        description = _described(entry)
        if description is not None:
            known.setdefault(entry.name, description)
    return [known[name] for name in sorted(known)]


def _entry_points() -> "Iterable[EntryPoint]":
    # Loading this takes 4 MB and 15 ms, which most workers never need.
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def _described(entry: "EntryPoint") -> dict[str, Any] | None:
    try:
        return {**describe(_load(entry.name, entry.value).function), "name": entry.name}
    except (OperatorNotFound, TypeError):
        return None


def _load(name: str, target: str) -> Operator:
    module_name, _, attribute = target.partition(":")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise OperatorNotFound(
                f"operator {name!r}: there is no module {error.name!r} in the bundle or environment"
            ) from error
        raise OperatorNotFound(
            f"operator {name!r}: its module needs {error.name!r}, which is not installed; "
            "add it to the requirements"
        ) from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise OperatorNotFound(f"operator {name!r}: module {module_name!r} has no function {attribute!r}")
    return declared(found)
