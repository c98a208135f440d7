"""pickle and joblib: opened here only, and only where the server allows it for this component."""

from __future__ import annotations

import importlib
import pickle
import zipfile
from typing import Any

from modelyard.serving.errors import library
from modelyard.serving.loaders.estimators import Estimator
from modelyard.serving.loaders.loading import Loading, Model


def load(loading: Loading, method: str = "") -> Model:
    """Raises ServingError, and whatever opening it raises."""
    path = loading.path
    loading.unpickling(path.name)
    if zipfile.is_zipfile(path):
        from modelyard.serving.loaders import torch_modules

        return torch_modules.unpickled(loading)
    found = _opened(str(path))
    if hasattr(found, "forward"):
        from modelyard.serving.loaders import torch_modules

        return torch_modules.module_of(found, loading)
    return Estimator(found, loading.settings, method)


def _opened(path: str) -> Any:
    try:
        joblib = importlib.import_module("joblib")
    except ImportError:
        joblib = None
    if joblib is not None:
        return joblib.load(path)
    with open(path, "rb") as opened:  # noqa: PTH123
        head = opened.read(2)
        opened.seek(0)
        if head[:1] != b"\x80":
            library("joblib", "joblib", "runtime.requirements", "opening a compressed pickle")
        return pickle.load(opened)
