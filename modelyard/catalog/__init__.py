"""The operators that every agent offers.

Owns their names. Each is an ordinary operator, written with the standard library only, and is imported when
it is first used.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from modelyard.operator.declaration import describe

# By name: where the function is.
OPERATORS = {
    "echo": "modelyard.catalog.basics:echo",
    "fail": "modelyard.catalog.basics:fail",
    "files.list": "modelyard.catalog.texts:list_files",
    "files.read": "modelyard.catalog.texts:read_file",
    "pi": "modelyard.catalog.basics:pi",
    "sleep": "modelyard.catalog.basics:sleep",
    "table.describe": "modelyard.catalog.tables:describe_table",
    "table.filter": "modelyard.catalog.tables:filter_table",
    "text.count": "modelyard.catalog.texts:count",
}


def function_of(name: str) -> Callable[..., Any]:
    """The function of a built-in operator. Raises KeyError."""
    module, _, attribute = OPERATORS[name].partition(":")
    function: Callable[..., Any] = getattr(import_module(module), attribute)
    return function


def describe_all() -> list[dict[str, Any]]:
    """What `describe` says of each, by name."""
    return [describe(function_of(name)) for name in OPERATORS]
