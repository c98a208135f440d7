"""This project, Triton and MLServer, each with all models of the corpus, at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from modelyard.oip.v2 import inference_pb2 as pb
from modelyard.oip.v2 import inference_pb2_grpc as rpc
from tests.differential.corpus import GRAPHS, SKLEARN
from tests.rivals.running import Entry, Rival, running
from tests.support.yard import Yard, new_yard

TIMEOUT_S = 60.0
START_S = 120.0
LACKS = {"triton": {"free-axis"}, "mlserver": set()}
"""Triton takes no model whose output has no axes."""


class Server:
    """Its methods, with the token in plain metadata and a deadline."""

    def __init__(self, name: str, address: str, token: str = "") -> None:
        self.name = name
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        options = [("grpc.enable_http_proxy", 0)]
        self._stub = rpc.GRPCInferenceServiceStub(grpc.insecure_channel(address, options=options))

    def __getattr__(self, method: str) -> Any:
        called = getattr(self._stub, method)
        return lambda request: called(request, timeout=TIMEOUT_S, metadata=self._metadata)

    def wait_until_ready(self, name: str, rival: Rival) -> None:
        """Raises its last words where that does not happen in two minutes."""
        until = time.monotonic() + START_S
        while True:
            try:
                if self.ModelReady(pb.ModelReadyRequest(name=name)).ready:
                    return
                raise RuntimeError(f"{name} is not ready")
            except (grpc.RpcError, RuntimeError) as error:
                if time.monotonic() > until or rival.process.poll() is not None:
                    raise RuntimeError(rival.said()) from error
                time.sleep(0.1)


@contextlib.contextmanager
def all_servers(place: Path) -> Iterator[dict[str, Server]]:
    _make_sklearn(place)
    with new_yard(is_up=False, agents=2) as yard, contextlib.ExitStack() as others:
        servers = {"modelyard": _own(yard, place)}
        entries = [Entry(name, "onnx", str(path)) for name, path in GRAPHS.items()]
        entries.append(Entry(SKLEARN, "sklearn", str(place / "iris.joblib")))
        for name in ("triton", "mlserver"):
            had = [entry for entry in entries if entry.name not in LACKS[name]]
            rival = others.enter_context(running(name, had))
            server = servers[name] = Server(name, f"127.0.0.1:{rival.port}")
            for entry in had:
                server.wait_until_ready(entry.name, rival)
        yield servers


def _make_sklearn(place: Path) -> None:
    import joblib
    import skops.io
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    x, y = load_iris(return_X_y=True)
    fitted = LogisticRegression(max_iter=500).fit(x, y)
    skops.io.dump(fitted, place / "iris.skops")
    joblib.dump(fitted, place / "iris.joblib")


def _own(yard: Yard, place: Path) -> Server:
    result = yard.up("--models")
    assert result.code == 0, f"{result.stderr}\n{yard.logs()}"

    def push(name: str, path: Path) -> None:
        pushed = yard.cli("model", "push", str(path), "--name", name)
        assert pushed.code == 0, f"{pushed.stdout}{pushed.stderr}\n{yard.logs()}"

    files = {**GRAPHS, SKLEARN: place / "iris.skops"}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(push, files, files.values()))
    token = (yard.state / "secrets" / "admin.token").read_text().strip()
    return Server("modelyard", yard.models, token)
