"""BentoML with two models of iris: `CATALOGUE=… bentoml serve bentoml_service:Iris`. Nothing of this project is
imported."""

from __future__ import annotations

import json
import os
from pathlib import Path

import bentoml
import joblib
import numpy as np
import onnxruntime

PATHS = {entry["name"]: entry["path"] for entry in json.loads(Path(os.environ["CATALOGUE"]).read_text())}


@bentoml.service
class Iris:
    def __init__(self) -> None:
        self._session = onnxruntime.InferenceSession(PATHS["iris-onnx"])
        self._model = joblib.load(PATHS["iris-sklearn"])

    @bentoml.api
    def iris_onnx(self, x: np.ndarray) -> np.ndarray:
        return self._session.run(None, {"x": x.astype(np.float32)})[0]

    @bentoml.api
    def iris_sklearn(self, x: np.ndarray) -> np.ndarray:
        return self._model.predict_proba(x)
