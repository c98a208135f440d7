"""Why a call, or a component, is refused: a canonical code, the field, and what to do. Standard library only."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import ClassVar


class ServingError(Exception):
    """Something in the frame went wrong."""

    code: ClassVar[str] = "INTERNAL"
    reason: ClassVar[str] = ""
    """A word of its own, where the code does not say enough."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class InvalidValue(ServingError):
    """What the caller gave does not fit."""

    code = "INVALID_ARGUMENT"


class ComponentUnfit(ServingError):
    """The component, or its model.yaml, cannot do what was asked."""

    code = "FAILED_PRECONDITION"


class PickleNotTrusted(ComponentUnfit):
    """Opening it would run code, which the server has not allowed."""

    reason = "PICKLE_NOT_TRUSTED"


class TypesNotTrusted(ComponentUnfit):
    """It would construct what the server has not allowed."""

    reason = "TYPES_NOT_TRUSTED"


class FrameLeaving(ServingError):
    """The call has not begun, and belongs into another frame."""

    code = "UNAVAILABLE"


class LibraryMissing(ServingError):
    """The frame's environment lacks a library."""

    code = "FAILED_PRECONDITION"


class AnswerTooLarge(ServingError):
    """More than is sent."""

    code = "RESOURCE_EXHAUSTED"


def library(module: str, package: str, field: str, what: str) -> ModuleType:
    """A library that `what` needs. Raises LibraryMissing, which names the requirement."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise LibraryMissing(
            f"{what} needs {package}: add it to runtime.requirements of model.yaml ({error})", field
        ) from error
