"""Calls of models through service and frame, beside a bare grpc.aio server that gives tensors back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc.aio
import psutil

from bench.figures import Figure, percentile
from bench.models_floor import SIZES
from bench.yard import ROOT, Yard, running_yard, surroundings
from modelyard.oip.v2 import inference_pb2 as pb
from modelyard.oip.v2 import inference_pb2_grpc

TURNS, CALLS, MANY, LARGE = 3, 1_000, 4_000, 20
TENSOR_BYTES = 4 << 20
SAME = """import numpy as np


class Same:
    def predict(self, x: np.ndarray) -> np.ndarray:
        return x
"""
SAME_CONFIG = """kind: Model
name: same
inputs: [{name: x, datatype: FP32, shape: [-1], codec: tensor}]
outputs: [{name: result, datatype: FP32, shape: [-1], codec: tensor}]
serving: {idempotent: true}
"""


def measure() -> list[Figure]:
    with TemporaryDirectory() as place, running_yard("--models") as yard, floor() as port:
        _push_all(yard, Path(place))
        return asyncio.run(_measured(yard, port))


@contextlib.contextmanager
def floor() -> Iterator[int]:
    """The port of a bare server."""
    command = [sys.executable, "-m", "bench.models_floor"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=surroundings(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.communicate()


def _push_all(yard: Yard, place: Path) -> None:
    """Two of one small row, one that gives back, and one whose weights are read once a batch."""
    make_iris(place)
    _make_wide(place / "wide.onnx")
    (place / "same.py").write_text(SAME)
    (place / "same.yaml").write_text(SAME_CONFIG)
    (place / "apart.yaml").write_text("serving: {max_batch: 0}\n")
    yard.run("model", "push", str(place / "iris.onnx"), "--name", "iris-onnx")
    yard.run("model", "push", str(place / "iris.skops"), "--name", "iris-skops")
    yard.run("model", "push", str(place / "same.py"), "--config", str(place / "same.yaml"), "--name", "same")
    yard.run("model", "push", str(place / "wide.onnx"), "--name", "wide")
    yard.run(
        "model",
        "push",
        str(place / "wide.onnx"),
        "--config",
        str(place / "apart.yaml"),
        "--name",
        "wide-apart",
    )


def make_iris(place: Path) -> Any:
    """iris.skops and iris.onnx, of one fitted classifier, which is given back."""
    import numpy as np
    import skops.io
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    x, y = load_iris(return_X_y=True)
    fitted = LogisticRegression(max_iter=500).fit(x, y)
    skops.io.dump(fitted, place / "iris.skops")
    _save(
        place / "iris.onnx",
        [(fitted.coef_.T.astype(np.float32), fitted.intercept_.astype(np.float32))],
        softmax=True,
    )
    return fitted


def _make_wide(path: Path) -> None:
    import numpy as np

    sizes = (256, 2048, 2048, 10)
    random = np.random.default_rng(7)
    layers = [
        (random.normal(0, 0.02, (before, after)).astype(np.float32), np.zeros(after, np.float32))
        for before, after in itertools.pairwise(sizes)
    ]
    _save(path, layers, softmax=False)


def _save(path: Path, layers: list[tuple[Any, Any]], *, softmax: bool) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    nodes, weights, last = [], [], "x"
    for at, (weight, bias) in enumerate(layers):
        weights += [numpy_helper.from_array(weight, f"w{at}"), numpy_helper.from_array(bias, f"b{at}")]
        nodes.append(helper.make_node("Gemm", [last, f"w{at}", f"b{at}"], [f"h{at}"]))
        nodes.append(helper.make_node("Softmax" if softmax else "Relu", [f"h{at}"], [f"y{at}"]))
        last = f"y{at}"
    graph = helper.make_graph(
        nodes, "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", layers[0][0].shape[0]])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", layers[-1][0].shape[1]])], weights,
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


class Caller:
    """Calls of one server."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._infer = inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def call(self, request: pb.ModelInferRequest) -> None:
        await self._infer(request, metadata=self._metadata, timeout=120)

    async def alone(self, request: pb.ModelInferRequest, count: int) -> list[float]:
        """Milliseconds of each, one after the other."""
        found = []
        for _ in range(count):
            begun = time.perf_counter()
            await self.call(request)
            found.append((time.perf_counter() - begun) * 1e3)
        return found

    async def per_s(self, request: pb.ModelInferRequest, at_once: int, count: int) -> float:
        """Calls a second of so many callers."""

        async def caller() -> None:
            for _ in range(count // at_once):
                await self.call(request)

        begun = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(at_once)))
        return count // at_once * at_once / (time.perf_counter() - begun)


@contextlib.asynccontextmanager
async def _callers(yard: Yard, port: int) -> AsyncIterator[tuple[Caller, Caller]]:
    token = (yard.state / "secrets" / "admin.token").read_text().strip()
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{yard.port_base + 4}", options=SIZES) as own,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=SIZES) as bare,
    ):
        yield Caller(own, token), Caller(bare, token)


async def _measured(yard: Yard, port: int) -> list[Figure]:
    idle_mb = service_of(yard).memory_info().rss / 1e6
    async with _callers(yard, port) as (own, bare):
        figures = [Figure("models: idle service, RSS", "MB", (idle_mb,), "≤ 90")]
        figures += await _small(own, bare)
        figures += await _large(own, bare)
        figures += await _batched(own)
        figures.append(Figure("models: unloaded → first answer", "s", await _cold_s(yard, own), "< 2"))
        return figures


def row_of(model: str) -> pb.ModelInferRequest:
    width, code, datatype = (256, "f", "FP32") if "wide" in model else (4, "f", "FP32")
    if model == "iris-skops":
        code, datatype = "d", "FP64"
    name = "features" if model == "iris-skops" else "x"
    return _request(model, name, datatype, [1, width], struct.pack(f"<{width}{code}", *[1.5] * width))


def _request(model: str, name: str, datatype: str, shape: list[int], data: bytes) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    request.raw_input_contents.append(data)
    return request


async def _small(own: Caller, bare: Caller) -> list[Figure]:
    """Turn by turn, so that what else the machine does is in all of them."""
    places = {"bare grpc.aio": (bare, "iris-onnx"), "onnx": (own, "iris-onnx"), "skops": (own, "iris-skops")}
    alone: dict[str, list[list[float]]] = {name: [] for name in places}
    rates: dict[str, list[float]] = {name: [] for name in places}
    for _ in range(TURNS):
        for name, (caller, model) in places.items():
            await caller.alone(row_of(model), 50)
            alone[name].append(await caller.alone(row_of(model), CALLS))
            rates[name].append(await caller.per_s(row_of(model), 32, MANY))
    figures = []
    for name in places:
        goal, rate_goal = ("", "") if name.startswith("bare") else ("≤ 1.5", "≥ 1,750")
        medians = tuple(percentile(one, 0.5) for one in alone[name])
        tails = tuple(percentile(one, 0.99) for one in alone[name])
        figures.append(Figure(f"models: one row, {name}, median", "ms", medians, goal))
        figures.append(Figure(f"models: one row, {name}, p99", "ms", tails))
        figures.append(Figure(f"models: 32 in flight, {name}", "calls/s", tuple(rates[name]), rate_goal))
    return figures


async def _large(own: Caller, bare: Caller) -> list[Figure]:
    request = _request("same", "x", "FP32", [TENSOR_BYTES // 4], os.urandom(TENSOR_BYTES))
    rates: dict[str, list[float]] = {"bare grpc.aio": [], "service and frame": []}
    for _ in range(TURNS):
        for name, caller in (("bare grpc.aio", bare), ("service and frame", own)):
            await caller.alone(request, 3)
            median_ms = percentile(await caller.alone(request, LARGE), 0.5)
            rates[name].append(2 * TENSOR_BYTES / median_ms / 1e3)
    return [
        Figure(f"models: 4 MiB there and back, {name}", "MB/s", tuple(runs), "" if "bare" in name else "≥ 300",
               "bytes of both ways")
        for name, runs in rates.items()
    ]  # fmt: skip


async def _batched(own: Caller) -> list[Figure]:
    rates: dict[str, list[float]] = {"wide": [], "wide-apart": []}
    for _ in range(TURNS):
        for model, runs in rates.items():
            await own.per_s(row_of(model), 64, 256)
            runs.append(await own.per_s(row_of(model), 64, 1_024))
    ratios = tuple(one / other for one, other in zip(rates["wide"], rates["wide-apart"], strict=True))
    return [
        Figure("models: 64 callers, computed together", "calls/s", tuple(rates["wide"])),
        Figure("models: 64 callers, computed apart", "calls/s", tuple(rates["wide-apart"])),
        Figure("models: what computing together gains", "×", ratios, "≥ 2"),
    ]


async def _cold_s(yard: Yard, own: Caller) -> tuple[float, ...]:
    found = []
    for _ in range(3):
        await asyncio.to_thread(yard.run, "model", "unload", "iris-onnx")
        begun = time.perf_counter()
        await own.call(row_of("iris-onnx"))
        found.append(time.perf_counter() - begun)
    return tuple(found)


def service_of(yard: Yard) -> psutil.Process:
    """Its models service."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "services.models" in " ".join(words) and str(yard.state) in " ".join(words):
            return process
    raise RuntimeError("the models service does not run")
