"""Which module loads which format, and what a loaded component can do."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from modelyard.serving.errors import ComponentUnfit, PickleNotTrusted
from modelyard.serving.launch import Settings

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Findings = dict[str, tuple[Any, str]]
"""What a loaded thing says of itself: by the path of model.yaml its value, and why."""
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stream:
    """Outputs one after the other. Whoever takes them closes the iterator, be it half way."""

    parts: Iterator[Values]


class Model(Protocol):
    """A loaded component. Called by several threads at once where model.yaml says so."""

    def compute(self, values: Values, wanted: Sequence[str] | None) -> Values | Stream:
        """Outputs by name; `wanted`: at least these, None: all. Raises ServingError; ValueError: values do not fit."""
        ...

    def findings(self) -> Findings:
        """What it says of its inputs and outputs."""
        ...

    @property
    def takes_objects(self) -> bool:
        """It is given what callers mean (texts, pictures, tables), not what was sent."""
        ...


@dataclass(slots=True)
class Loading:
    """A component that is to be loaded."""

    folder: Path
    settings: Settings
    may_unpickle: bool = False
    trusted_types: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Of the file that comes first. Raises ComponentUnfit: it is not there, or lies elsewhere."""
        return self.inside(self.settings.file)

    def inside(self, name: str) -> Path:
        """A file of the component. Raises ComponentUnfit."""
        root = self.folder.resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root) or not path.exists():
            raise ComponentUnfit(f"the component has no file {name!r}", "component.file")
        return path

    def unpickling(self, what: str) -> None:
        """Raises ComponentUnfit where the server does not allow it."""
        if not self.may_unpickle:
            raise PickleNotTrusted(
                f"{what} runs code when it is opened, and this server does not trust it: keep the model as skops, ONNX"
                " or the library's own format, or have an administrator trust it",
                "component.format",
            )


_MODULES = {
    "onnx": "onnx_session",
    "skops": "estimators",
    "pickle": "pickles",
    "xgboost": "xgboost_booster",
    "lightgbm": "lightgbm_booster",
    "torchscript": "torch_modules",
    "torch-export": "torch_modules",
    "safetensors": "python_class",
    "mlflow": "mlflow_folder",
    "python": "python_class",
}


def load(loading: Loading) -> Model:
    """The component, ready to compute; what its libraries warned of goes to `loading.warnings`.

    Raises ServingError, and whatever the component's own code raises.
    """
    module = _MODULES.get(loading.settings.format)
    if module is None:
        raise ComponentUnfit(f"there is no format {loading.settings.format!r}", "component.format")
    how: Callable[[Loading], Model] = importlib.import_module(f"modelyard.serving.loaders.{module}").load
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        model = how(loading)
    # An estimator that was fitted with a table of named columns gets their numbers in the same order.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    texts = dict.fromkeys(" ".join(_COLOUR.sub("", str(one.message)).split())[:300] for one in heard)
    loading.warnings += list(texts)[:20]
    return model
