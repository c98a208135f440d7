"""Functions of the component's own code: imported from its folder, in the frame only."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from modelyard.serving.errors import ComponentUnfit


@dataclass(frozen=True, slots=True)
class Code:
    """A function as a step: called with all values, or with one where the step says `on`."""

    reference: str
    function: Callable[..., Any]
    takes_parameters: bool

    def whole(
        self, values: Mapping[str, Any], options: Mapping[str, Any], parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        """All values → all values. Raises ComponentUnfit if it gives no mapping by name."""
        found = self._called(dict(values), options, parameters)
        if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
            raise ComponentUnfit(
                f"{self.reference} gave {type(found).__name__}; without `on` it takes all values by name"
                " and gives all values by name"
            )
        return dict(found)

    def each(self, value: Any, options: Mapping[str, Any], parameters: Mapping[str, Any]) -> Any:
        """One value → one value."""
        return self._called(value, {k: v for k, v in options.items() if k not in ("on", "to")}, parameters)

    def _called(self, given: Any, options: Mapping[str, Any], parameters: Mapping[str, Any]) -> Any:
        more = {"parameters": dict(parameters)} if self.takes_parameters else {}
        return self.function(given, **options, **more)


def load_function(reference: str, folder: Path, path: str) -> Code:
    """ "module:function" of the component. Raises ComponentUnfit with the step's path."""
    module_name, _, attribute = reference.partition(":")
    function: Any = _module(module_name, folder, path)
    for part in attribute.split("."):
        function = getattr(function, part, None)
    if not callable(function):
        raise ComponentUnfit(f"{module_name} has no function {attribute!r}", f"{path}.code")
    return Code(reference, function, _takes_parameters(function))


def _module(name: str, folder: Path, path: str) -> ModuleType:
    root = folder.resolve()
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise ComponentUnfit(f"{name} cannot be imported: {error}", f"{path}.code") from error
    except SyntaxError as error:
        raise ComponentUnfit(f"{name} is no Python: {error}", f"{path}.code") from error
    origin = getattr(module, "__file__", None)
    if origin is None or not Path(origin).resolve().is_relative_to(root):
        raise ComponentUnfit(
            f"the component has no module {name!r}; only its own code is called", f"{path}.code"
        )
    return module


def _takes_parameters(function: Callable[..., Any]) -> bool:
    try:
        return "parameters" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
