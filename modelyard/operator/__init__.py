"""Operators: typed Python functions that a task can call.

Owns how a function is declared, described as JSON Schema and checked; `modelyard.catalog.registry` finds them. Must
not run anything and must not import anything but the standard library.

``from modelyard import operator`` has to give the decorator, and importing any module of this package binds
the package itself to that same name; so the package can be called, and then it is the decorator.
"""

import sys
from types import ModuleType
from typing import Any

from modelyard.operator import declaration
from modelyard.operator.declaration import Operator, describe, operator
from modelyard.operator.failure import OperatorFailed
from modelyard.operator.ports import File, Input, Port
from modelyard.operator.schema import Range
from modelyard.operator.validation import Problem, validate_params

__all__ = [
    "File",
    "Input",
    "Operator",
    "OperatorFailed",
    "Port",
    "Problem",
    "Range",
    "describe",
    "operator",
    "validate_params",
]


class _Decorator(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return declaration.operator(*arguments, **options)


sys.modules[__name__].__class__ = _Decorator
