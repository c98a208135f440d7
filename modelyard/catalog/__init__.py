"""The operators that every agent offers.

Owns their names. Each is an ordinary operator, written with the standard library only.
"""

from collections.abc import Callable
from typing import Any

from modelyard.catalog.basics import echo, fail, pi, sleep
from modelyard.operator.declaration import declared, describe

OPERATORS: dict[str, Callable[..., Any]] = {
    declared(function).name: function for function in (echo, fail, pi, sleep)
}


def describe_all() -> list[dict[str, Any]]:
    """What `describe` says of each, by name."""
    return [describe(OPERATORS[name]) for name in sorted(OPERATORS)]
