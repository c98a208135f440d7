"""ONNX models for MLServer, which has no runtime for them. Nothing of this project is imported."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri


class OnnxModel(MLModel):
    """One graph; its declared inputs and outputs are checked by MLServer's base class, as far as it does."""

    async def load(self) -> bool:
        self._session = onnxruntime.InferenceSession(await get_model_uri(self.settings))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = {one.name: array_of(one) for one in payload.inputs}
        wanted = [one.name for one in payload.outputs or []] or [
            one.name for one in self._session.get_outputs()
        ]
        answers = self._session.run(wanted, given)
        outputs = [encoded(name, answer) for name, answer in zip(wanted, answers, strict=True)]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)


def array_of(tensor: Any) -> Any:
    if tensor.datatype != "BYTES":
        return NumpyCodec.decode_input(tensor)
    return np.array(StringCodec.decode_input(tensor), np.object_).reshape(tensor.shape)


def encoded(name: str, answer: Any) -> Any:
    if isinstance(answer, list):
        return NumpyCodec.encode_output(name, np.array([list(row.values()) for row in answer], np.float32))
    if answer.dtype != np.object_:
        return NumpyCodec.encode_output(name, answer)
    output = StringCodec.encode_output(name, answer.flatten().tolist())
    output.shape = list(answer.shape)
    return output
