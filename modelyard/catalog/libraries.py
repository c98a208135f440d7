"""Libraries that are not part of the core: loaded when an operator is called, never to list it.

Owns the message that tells what is missing where. Everything here comes with the extra ``operators``.
"""

from importlib import import_module
from typing import Any

from modelyard.operator.failure import OperatorFailed


class LibraryMissing(OperatorFailed):
    """A node does not have what an operator needs."""


def library(module: str, distribution: str = "") -> Any:
    """The module. Raises `LibraryMissing` with what to do."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise
        wanted = distribution or module.partition(".")[0]
        raise LibraryMissing(
            f"this operator needs {wanted}, which is not installed here",
            f"add {wanted!r} to the task's requirements, or install it on the node: pip install 'modelyard[operators]'",
        ) from error
