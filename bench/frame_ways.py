"""The three ways from the models service to a frame, turn by turn: its own socket, its port on loopback, or by TLS.

Each has a yard of its own, all up at the same time, so that what else the machine does is in all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc.aio
import psutil

from bench.figures import Figure, percentile
from bench.models import SAME, SAME_CONFIG, TENSOR_BYTES, Caller, _request, make_iris, row_of
from bench.models_floor import SIZES
from bench.yard import Yard, running_yard

TURNS, CALLS, MANY, LARGE = 8, 250, 640, 5
MODELS = ("iris-onnx", "iris-skops")
SOCKET, PORT, SEALED = "own socket", "port on loopback", "port by TLS"


def measure() -> list[Figure]:
    with TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        yards = {SOCKET: stack.enter_context(running_yard("--models"))}
        yards[PORT] = stack.enter_context(running_yard("--models"))
        if address := _own_address():
            with _advertised(address):
                yards[SEALED] = stack.enter_context(running_yard("--models", "--host", "0.0.0.0"))
        for name, yard in yards.items():
            if name != SOCKET:
                _disprove(yard)
            _push(yard, Path(place))
        return asyncio.run(_measured(yards))


def _push(yard: Yard, place: Path) -> None:
    make_iris(place)
    (place / "same.py").write_text(SAME)
    (place / "same.yaml").write_text(SAME_CONFIG)
    yard.run("model", "push", str(place / "iris.onnx"), "--name", "iris-onnx")
    yard.run("model", "push", str(place / "iris.skops"), "--name", "iris-skops")
    yard.run("model", "push", str(place / "same.py"), "--config", str(place / "same.yaml"), "--name", "same")


def _own_address() -> str:
    """Of this machine, beyond loopback; empty: it has none."""
    found = [one for addresses in psutil.net_if_addrs().values() for one in addresses]
    inner = (one.address for one in found if one.family == socket.AF_INET)
    return next((one for one in inner if not one.startswith("127.")), "")


@contextlib.contextmanager
def _advertised(address: str) -> Iterator[None]:
    os.environ["YARD_ADVERTISE"] = address
    try:
        yield
    finally:
        del os.environ["YARD_ADVERTISE"]


def _disprove(yard: Yard) -> None:
    """Its agent is not of this machine any more, as far as its services can tell."""
    for home in (yard.state / "agents").glob("*/home"):
        home.write_text("elsewhere")


class Side:
    """One yard, and what its processes have used."""

    def __init__(self, yard: Yard) -> None:
        credentials = None
        if (authority := yard.state / "tls" / "ca.pem").exists():
            credentials = grpc.ssl_channel_credentials(authority.read_bytes())
        target = f"127.0.0.1:{yard.port_base + 4}"
        channel = (
            grpc.aio.secure_channel(target, credentials, options=SIZES)
            if credentials
            else grpc.aio.insecure_channel(target, options=SIZES)
        )
        token = (yard.state / "secrets" / "admin.token").read_text().strip()
        self.caller = Caller(channel, token)
        self.yard = yard
        self.alone: dict[str, list[float]] = {}
        self.quick: dict[str, list[float]] = {}
        self.per_s: dict[str, list[float]] = {}
        self.mb_per_s: list[float] = []
        self.used_ms: dict[str, list[float]] = {}

    def processor_s(self) -> dict[str, float]:
        """Of the service, and of what its frames' seats hold."""
        found = {"service": 0.0, "passing on": 0.0}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line = process.cmdline()
                if str(self.yard.state) not in " ".join([*line, *process.environ().values()]):
                    continue
                times = process.cpu_times()
                if "services.models" in line:
                    found["service"] += times.user + times.system
                elif any("yard-frame" in word or word == "modelyard.enclosure" for word in line):
                    found["passing on"] += times.user + times.system
        return found


async def _measured(yards: dict[str, Yard]) -> list[Figure]:
    sides = {name: Side(yard) for name, yard in yards.items()}
    large = _request("same", "x", "FP32", [TENSOR_BYTES // 4], bytes(TENSOR_BYTES))
    for side in sides.values():
        for model in MODELS:
            await side.caller.alone(row_of(model), CALLS)
        await side.caller.alone(large, 3)
    for turn in range(TURNS):
        order = list(sides.values())
        order = order[turn % len(order) :] + order[: turn % len(order)]
        for model in MODELS:
            await _alone(order, model)
        for side in order:
            await _turn(side, large)
    figures = [figure for name, side in sides.items() for figure in _figures(name, side)]
    for name in sides.keys() - {PORT}:
        figures += _compared(name, sides[name], sides[PORT])
    return figures


async def _alone(sides: list[Side], model: str) -> None:
    """Call by call, so that a busy moment is in all of them; of each the quickest tenth ends where it says."""
    took: list[list[float]] = [[] for _ in sides]
    for _ in range(CALLS):
        for side, found in zip(sides, took, strict=True):
            found += await side.caller.alone(row_of(model), 1)
    for side, found in zip(sides, took, strict=True):
        side.alone.setdefault(model, []).append(statistics.median(found))
        side.quick.setdefault(model, []).append(percentile(found, 0.1))


async def _turn(side: Side, large: object) -> None:
    for model in MODELS:
        before = side.processor_s()
        side.per_s.setdefault(model, []).append(await side.caller.per_s(row_of(model), 32, MANY))
        after = side.processor_s()
        for who, used in after.items():
            each = (used - before[who]) * 1e3 / (MANY // 32 * 32)
            side.used_ms.setdefault(who, []).append(each)
    took = await side.caller.alone(large, LARGE)  # type: ignore[arg-type]
    side.mb_per_s.append(2 * TENSOR_BYTES / 1e3 / statistics.median(took))


def _compared(name: str, side: Side, other: Side) -> list[Figure]:
    """Turn by turn, which leaves out what else the machine did."""
    found = []
    for model in MODELS:
        longer = tuple(one / two for one, two in zip(side.alone[model], other.alone[model], strict=True))
        more = tuple(one / two for one, two in zip(side.per_s[model], other.per_s[model], strict=True))
        found.append(Figure(f"{name} / {PORT}: one row, {model}, median", "×", longer))
        found.append(Figure(f"{name} / {PORT}: 32 in flight, {model}", "×", more))
    faster = tuple(one / two for one, two in zip(side.mb_per_s, other.mb_per_s, strict=True))
    return [*found, Figure(f"{name} / {PORT}: 4 MiB there and back", "×", faster)]


def _figures(name: str, side: Side) -> list[Figure]:
    found = []
    for model in MODELS:
        found.append(Figure(f"{name}: one row, {model}, median", "ms", tuple(side.alone[model])))
        found.append(Figure(f"{name}: one row, {model}, quickest tenth", "ms", tuple(side.quick[model])))
        found.append(Figure(f"{name}: 32 in flight, {model}", "calls/s", tuple(side.per_s[model])))
    found.append(Figure(f"{name}: 4 MiB there and back", "MB/s", tuple(side.mb_per_s)))
    for who, used in side.used_ms.items():
        found.append(Figure(f"{name}: processor time a call, {who}", "ms", tuple(used)))
    return found
