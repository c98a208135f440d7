"""One small row through this project and through other servers of models, by one client, in turns, in one table.

`python -m bench rivals`. Each of them is installed once, as tests/rivals pins it; one that cannot be is named, not left
away. All run at the same time and are called one after the other, so that what else the machine does is in all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import grpc.aio
import psutil

from bench.figures import Figure, percentile
from bench.http_calls import connections, posted
from bench.models import floor, make_iris, service_of
from bench.yard import Yard, running_yard
from modelyard.oip.v2 import inference_pb2 as pb
from modelyard.oip.v2 import inference_pb2_grpc
from tests.rivals.running import NAMES, Entry, NotInstallable, Rival, running

TURNS, ALONE, MANY, AT_ONCE, STARTS = 3, 300, 1_280, 32, 2
PATIENCE_S = 60.0
ROW = (5.1, 3.5, 1.4, 0.2)
TITLES = {
    "bare": "bare `grpc.aio` server that gives tensors back", "modelyard": "**Modelyard**, service and frame",
    "mlserver": "MLServer 1.7.1, inline", "mlserver-worker": "MLServer 1.7.1, with one worker",
    "triton": "Triton (PyTriton 0.7.0)", "bentoml": "BentoML 1.4.39 (HTTP)",
}  # fmt: skip
Call = Callable[[], Awaitable[object]]


@dataclass
class Server:
    """What was found of one."""

    name: str
    port: int = 0
    token: str = ""
    first_s: list[float] = field(default_factory=list)
    idle_mb: float = 0.0
    note: str = ""
    alone_ms: dict[str, list[float]] = field(default_factory=lambda: {"onnx": [], "sklearn": []})
    per_s: dict[str, list[float]] = field(default_factory=lambda: {"onnx": [], "sklearn": []})


def measure() -> list[Figure]:
    with TemporaryDirectory() as folder, contextlib.ExitStack() as running_all:
        entries = _models(Path(folder))
        servers = [Server("bare", running_all.enter_context(floor())), _own(running_all, Path(folder))]
        absent = []
        for name in NAMES:
            try:
                servers.append(_rival(running_all, name, entries))
            except (NotInstallable, NotStarted) as error:
                said = [line for line in str(error).splitlines() if line.strip()]
                absent.append(f"\n{TITLES[name]} is not in this table: {said[-1]}")
        asyncio.run(_turns(servers))
    print("\n".join([table(servers), *absent]), end="\n\n")
    return list(_figures(servers))


class NotStarted(Exception):
    """It did not answer within a minute."""


def _models(place: Path) -> list[Entry]:
    import joblib

    joblib.dump(make_iris(place), place / "iris.joblib")
    return [
        Entry("iris-onnx", "onnx", str(place / "iris.onnx"), batched=True),
        Entry("iris-sklearn", "sklearn", str(place / "iris.joblib"), batched=True),
    ]


def _own(running_all: contextlib.ExitStack, place: Path) -> Server:
    yard = running_all.enter_context(running_yard("--models"))
    yard.run("model", "push", str(place / "iris.onnx"), "--name", "iris-onnx")
    yard.run("model", "push", str(place / "iris.skops"), "--name", "iris-sklearn")
    token = (yard.state / "secrets" / "admin.token").read_text().strip()
    server = Server("modelyard", yard.port_base + 4, token)
    service_mb = service_of(yard).memory_info().rss / 1e6
    for _ in range(STARTS):
        yard.run("model", "unload", "iris-onnx")
        server.first_s.append(_first(server, time.perf_counter()))
    asyncio.run(call_of(server, "sklearn")())
    server.idle_mb = service_mb + _frames_mb(yard)
    server.note = f"service {service_mb:.0f} MB; the yard around it was up in {yard.up_s:.1f} s, once"
    return server


def _frames_mb(yard: Yard) -> float:
    """Of what computes the models, with the processes that hold them."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        if "modelyard.serving" in (words := process.info["cmdline"] or []) and str(yard.state) in words[0]:
            found |= {process, *(one for one in process.parents() if "yard-frame" in " ".join(one.cmdline()))}
    return sum(process.memory_info().rss for process in found) / 1e6


def _rival(running_all: contextlib.ExitStack, name: str, entries: list[Entry]) -> Server:
    """Started as often as its start is measured; the last one stays."""
    first_s = []
    for at in range(STARTS):
        started = contextlib.ExitStack()
        rival = started.enter_context(running(name, entries))
        server = Server(name, rival.port)
        try:
            first_s.append(_first(server, rival.begun, rival))
            _first(server, rival.begun, rival, "sklearn")
        except BaseException:  # interrupted, too: no server outlives the comparison
            started.close()
            raise
        if at < STARTS - 1:
            started.close()
        else:
            running_all.enter_context(started)
    server.first_s = first_s
    process = psutil.Process(rival.process.pid)
    server.idle_mb = sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / 1e6
    return server


def _first(server: Server, begun: float, rival: Rival | None = None, kind: str = "onnx") -> float:
    """Seconds until it answered a row."""
    while True:
        try:
            asyncio.run(call_of(server, kind)())
            return time.perf_counter() - begun
        except (grpc.RpcError, OSError, EOFError) as error:
            if time.perf_counter() - begun > PATIENCE_S or (rival and rival.process.poll() is not None):
                raise NotStarted(f"{error}\n{rival.said() if rival else ''}") from error
            time.sleep(0.01)


def call_of(server: Server, kind: str) -> Call:
    """One call on a connection of its own."""

    async def call() -> None:
        async with _calls(server, kind, 1) as [one]:
            await one()

    return call


@contextlib.asynccontextmanager
async def _calls(server: Server, kind: str, count: int):  # type: ignore[no-untyped-def]
    """As many callers: of gRPC on one channel, of HTTP/1.1 each on its own connection."""
    if server.name == "bentoml":
        body = f'{{"x": [[{", ".join(map(str, ROW))}]]}}'.encode()
        request = posted(f"/iris_{kind}", body, server.port)
        async with connections(server.port, count) as made:
            yield [lambda one=one: one.call(request) for one in made]
        return
    metadata = (("authorization", f"Bearer {server.token}"),) if server.token else ()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        infer, request = (
            inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer,
            _request(server, kind),
        )
        yield [lambda: infer(request, metadata=metadata, timeout=120)] * count


def _request(server: Server, kind: str) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=f"iris-{kind}")
    name, datatype, code = ("x", "FP32", "f") if kind == "onnx" else ("features", "FP64", "d")
    request.inputs.add(name=name, datatype=datatype, shape=[1, len(ROW)])
    request.raw_input_contents.append(struct.pack(f"<{len(ROW)}{code}", *ROW))
    if kind == "sklearn" and server.name.startswith("mlserver"):
        # As much as the others compute: of itself it predicts only.
        for output in ("predict", "predict_proba"):
            request.outputs.add(name=output)
    return request


async def _turns(servers: list[Server]) -> None:
    for turn in range(TURNS):
        print(f"turn {turn + 1} of {TURNS}", file=sys.stderr)
        for kind in ("onnx", "sklearn"):
            for server in servers:
                async with _calls(server, kind, AT_ONCE) as callers:
                    await _alone(callers[0], ALONE // 10)
                    server.alone_ms[kind].append(percentile(await _alone(callers[0], ALONE), 0.5))
                    server.per_s[kind].append(await _per_s(callers, MANY))


async def _alone(call: Call, count: int) -> list[float]:
    found = []
    for _ in range(count):
        begun = time.perf_counter()
        await call()
        found.append((time.perf_counter() - begun) * 1e3)
    return found


async def _per_s(callers: list[Call], count: int) -> float:
    async def caller(call: Call) -> None:
        for _ in range(count // len(callers)):
            await call()

    begun = time.perf_counter()
    await asyncio.gather(*(caller(call) for call in callers))
    return count / (time.perf_counter() - begun)


def table(servers: list[Server]) -> str:
    """Markdown: a line for each."""
    lines = [
        "| one small row of iris | ONNX: 1 in flight, p50 ms | 32 in flight, calls/s | scikit-learn: p50 ms | calls/s"
        " | cached environment → first answer, s | memory with both models, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for server in servers:
        cells = [f"{statistics.median(found[kind]):.{digits}f}" for kind in ("onnx", "sklearn")
                 for found, digits in ((server.alone_ms, 2), (server.per_s, 0))]  # fmt: skip
        first = f"{statistics.median(server.first_s):.2f}" if server.first_s else ""
        memory = f"{server.idle_mb:.0f}" if server.idle_mb else ""
        note = f" ({server.note})" if server.note else ""
        lines.append(f"| {TITLES[server.name]} | {' | '.join(cells)} | {first} | {memory}{note} |")
    return "\n".join(lines)


def _figures(servers: list[Server]) -> Iterator[Figure]:
    for server in servers:
        for kind in ("onnx", "sklearn"):
            yield Figure(f"rivals: {server.name}, {kind}, one row", "ms", tuple(server.alone_ms[kind]))
            yield Figure(f"rivals: {server.name}, {kind}, 32 in flight", "calls/s", tuple(server.per_s[kind]))
        if server.first_s:
            yield Figure(f"rivals: {server.name}, first answer", "s", tuple(server.first_s))
            yield Figure(f"rivals: {server.name}, memory", "MB", (server.idle_mb,))
