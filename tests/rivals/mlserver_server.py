"""MLServer with the models of a catalogue: `python mlserver_server.py CATALOGUE PORT WORKERS`. Without workers models
are computed in the server's own process. Nothing of this project is imported."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import Any

from mlserver import MLServer, ModelSettings, Settings
from mlserver.settings import ModelParameters
from mlserver.types import MetadataTensor

TYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(int64)": "INT64",
    "tensor(string)": "BYTES",
}


def settings_of(entry: dict[str, Any]) -> ModelSettings:
    parameters = ModelParameters(uri=entry["path"], version="1")
    if entry["kind"] != "onnx":
        return ModelSettings(
            name=entry["name"], implementation="mlserver_sklearn.SKLearnModel", parameters=parameters
        )
    import onnxruntime

    session = onnxruntime.InferenceSession(entry["path"])
    return ModelSettings(
        name=entry["name"],
        implementation="mlserver_onnx.OnnxModel",
        parameters=parameters,
        inputs=[tensor(one) for one in session.get_inputs()],
        outputs=[tensor(one) for one in session.get_outputs()],
    )


def tensor(node: Any) -> MetadataTensor:
    if node.type.startswith("seq(map("):
        return MetadataTensor(name=node.name, datatype="FP32", shape=[-1, -1])
    shape = [size if isinstance(size, int) else -1 for size in node.shape]
    return MetadataTensor(name=node.name, datatype=TYPES[node.type], shape=shape)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def main() -> None:
    catalogue = json.loads(Path(sys.argv[1]).read_text())
    server = MLServer(
        Settings(
            host="127.0.0.1", http_port=free_port(), grpc_port=int(sys.argv[2]), parallel_workers=int(sys.argv[3]),
            metrics_endpoint=None, debug=False,
        )
    )  # fmt: skip
    await server.start([settings_of(entry) for entry in catalogue])


if __name__ == "__main__":
    asyncio.run(main())
