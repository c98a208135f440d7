"""Triton with the models of a catalogue, by PyTriton alone: `python pytriton_server.py CATALOGUE PORT`.

Triton of PyTriton has no backend for ONNX: models are functions in this process, which Triton calls. Ends when its
standard input does. Nothing of this project is imported.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

TYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(string)": np.bytes_,
}  # fmt: skip
Function = Callable[..., Any]
Bound = tuple[Function, list[Tensor], list[Tensor]]


def main() -> int:
    catalogue, port = json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])
    config = TritonConfig(
        grpc_address="127.0.0.1",
        grpc_port=port,
        http_address="127.0.0.1",
        http_port=free_port(),
        allow_metrics=False,
    )
    with Triton(config=config) as triton:
        for entry in catalogue:
            function, inputs, outputs = (onnx if entry["kind"] == "onnx" else sklearn)(entry["path"])
            is_batched = entry["batched"]
            triton.bind(
                model_name=entry["name"],
                infer_func=together(function) if is_batched else one_by_one(function),
                inputs=[rows_of(one) for one in inputs] if is_batched else inputs,
                outputs=[rows_of(one) for one in outputs] if is_batched else outputs,
                config=ModelConfig(
                    batching=is_batched, max_batch_size=64, batcher=DynamicBatcher(max_queue_delay_microseconds=0)
                ),
                strict=False,
            )  # fmt: skip
        triton.run()
        sys.stdin.read()
    return 0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def rows_of(tensor: Tensor) -> Tensor:
    """Without its first axis, which Triton adds to what is batched; one has to be left."""
    return Tensor(name=tensor.name, dtype=tensor.dtype, shape=tuple(tensor.shape[1:]) or (1,))


def together(function: Function) -> Function:
    def infer(**arrays: Any) -> Any:
        answers = function(arrays)
        return {name: one.reshape(-1, 1) if one.ndim == 1 else one for name, one in answers.items()}

    return batch(infer)


def one_by_one(function: Function) -> Function:
    return lambda requests: [function(request.data) for request in requests]


def onnx(path: str) -> Bound:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)

    def infer(arrays: Any) -> dict[str, Any]:
        given = {name: np.char.decode(array.astype(np.bytes_)).astype(np.object_) if array.dtype.kind in "OS" else array
                 for name, array in arrays.items()}  # fmt: skip
        answers = session.run(None, given)
        return {one.name: plain(answer) for one, answer in zip(session.get_outputs(), answers, strict=True)}

    return (
        infer,
        [tensor(one) for one in session.get_inputs()],
        [tensor(one) for one in session.get_outputs()],
    )


def tensor(node: Any) -> Tensor:
    if node.type.startswith("seq(map("):
        return Tensor(name=node.name, dtype=np.float32, shape=(-1, -1))
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return Tensor(name=node.name, dtype=TYPES[node.type], shape=shape)


def plain(answer: Any) -> Any:
    if isinstance(answer, list):
        return np.array([list(row.values()) for row in answer], np.float32)
    if answer.dtype == np.object_:
        return np.char.encode(answer.astype(np.str_), "utf-8")
    return answer


def sklearn(path: str) -> Bound:
    import joblib

    model = joblib.load(path)

    def infer(arrays: Any) -> dict[str, Any]:
        rows = arrays["features"]
        return {"label": model.predict(rows).astype(np.int64), "probabilities": model.predict_proba(rows)}

    inputs = [Tensor(name="features", dtype=np.float64, shape=(-1, model.n_features_in_))]
    outputs = [
        Tensor(name="label", dtype=np.int64, shape=(-1,)),
        Tensor(name="probabilities", dtype=np.float64, shape=(-1, len(model.classes_))),
    ]
    return infer, inputs, outputs


if __name__ == "__main__":
    raise SystemExit(main())
