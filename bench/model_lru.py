"""More models than memory: loaded when they are called, in the place of those that were called longest ago."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import struct
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc.aio
import psutil

from bench.figures import Figure, percentile
from bench.yard import Yard, running_yard
from modelyard.channel import connect
from modelyard.oip.v2 import inference_pb2 as pb
from modelyard.oip.v2 import inference_pb2_grpc
from modelyard.v1 import deployment_pb2, deployment_pb2_grpc

MODELS, ROOM, CALLS, CLIENTS = 40, 8, 2_000, 4
FRAME_MIB, WEIGHTS_MIB = 256, 16
DEADLINE_S = 120
LOOK_S = 0.05
SEED = 7
ADDER = """import numpy as np


class Adder:
    def __init__(self):
        # Weights that are really there.
        self.weights = np.ones({weights} << 20, np.uint8)

    def predict(self, x: int) -> int:
        return x + {plus} * int(self.weights[x])
"""
CONFIG = """kind: Model
name: {name}
runtime: {{memory: {memory}Mi}}
"""


@dataclass
class Seen:
    """What became of the calls, and what was there meanwhile."""

    seconds: list[float] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    loads: int = 0
    most_frames: int = 0
    most_processes: int = 0
    memory: list[int] = field(default_factory=list)


def name_of(number: int) -> str:
    return f"adder-{number}"


def popularity(models: int) -> list[float]:
    """Of Zipf's law: the n-th is called as often as the first divided by n."""
    return [1 / (rank + 1) for rank in range(models)]


def processes(state: Path) -> list[psutil.Process]:
    """All that run for a yard."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = " ".join(process.cmdline())
            if str(state) in words or str(state) in "".join(process.environ().values()):
                found.append(process)
    return found


def memory_bytes(state: Path) -> int:
    """Of all processes of a yard; what they share counts once."""
    found = 0
    for process in processes(state):
        with contextlib.suppress(psutil.Error):
            found += process.memory_full_info().pss
    return found


def frame_processes(state: Path) -> int:
    """Processes in which a model is, or is being, loaded."""
    found = 0
    for process in processes(state):
        with contextlib.suppress(psutil.Error):
            found += "modelyard.serving" in process.cmdline()
    return found


class Storm:
    """Many callers of many models at once."""

    def __init__(self, channel: grpc.aio.Channel, state: Path, models: int, seed: int = SEED) -> None:
        self.seen = Seen()
        self._infer = inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        self._frames = deployment_pb2_grpc.DeploymentServiceStub(channel)
        self._state = state
        self._models = models
        self._random = random.Random(seed)

    async def call(self, number: int, value: int) -> None:
        """One call, whose answer only that model gives."""
        request = pb.ModelInferRequest(model_name=name_of(number))
        request.inputs.add(name="x", datatype="INT64", shape=[1])
        request.raw_input_contents.append(struct.pack("<q", value))
        begun = time.perf_counter()
        try:
            answer = await self._infer(request, timeout=DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            self.seen.wrong[f"{error.code().name}: {error.details()}"] += 1
            return
        self.seen.seconds.append(time.perf_counter() - begun)
        (found,) = struct.unpack("<q", answer.raw_output_contents[0])
        if found != value + number:
            self.seen.wrong["another model's answer"] += 1

    async def rage(self, calls: int, clients: int) -> None:
        """So many calls, by so many callers."""
        left = itertools.count()
        weights = popularity(self._models)

        async def caller() -> None:
            while next(left) < calls:
                (number,) = self._random.choices(range(self._models), weights)
                await self.call(number, self._random.randrange(1_000))

        looking = asyncio.create_task(self._look())
        await asyncio.gather(*(caller() for _ in range(clients)))
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        self.seen.loads = await self._loads()

    async def _look(self) -> None:
        while True:
            frames = await self.frames()
            loaded = [one for one in frames if one.state in _LOADED]
            self.seen.most_frames = max(self.seen.most_frames, len(loaded))
            self.seen.most_processes = max(
                self.seen.most_processes, await asyncio.to_thread(frame_processes, self._state)
            )
            await asyncio.sleep(LOOK_S)

    async def frames(self, *, with_ended: bool = False) -> list[deployment_pb2.Frame]:
        """Those that there are, and those that there were."""
        found: list[deployment_pb2.Frame] = []
        token = ""
        while True:
            request = deployment_pb2.ListFramesRequest(with_ended=with_ended, page_token=token, page_size=200)
            page = await self._frames.ListFrames(request)
            found += page.frames
            token = page.next_page_token
            if not token:
                return found

    async def _loads(self) -> int:
        return len(await self.frames(with_ended=True))

    async def unload_all(self) -> None:
        """Until no frame is left."""
        for model in {one.model for one in await self.frames()}:
            await self._frames.UnloadModel(deployment_pb2.UnloadModelRequest(model=model))
        while True:
            if not await self.frames():
                return
            await asyncio.sleep(LOOK_S)


_LOADED = frozenset(
    {
        deployment_pb2.FRAME_STATE_LOADING,
        deployment_pb2.FRAME_STATE_READY,
        deployment_pb2.FRAME_STATE_DRAINING,
    }
)


def push_all(yard: Yard, models: int) -> None:
    """Each adds its own number."""
    with TemporaryDirectory() as place, ThreadPoolExecutor(2) as pool:

        def push(number: int) -> None:
            file, config = Path(place) / f"{number}.py", Path(place) / f"{number}.yaml"
            file.write_text(ADDER.format(plus=number, weights=WEIGHTS_MIB))
            config.write_text(CONFIG.format(name=name_of(number), memory=FRAME_MIB))
            yard.run("model", "push", str(file), "--config", str(config), "--name", name_of(number))

        list(pool.map(push, range(models)))


def measure() -> list[Figure]:
    memory = f"{ROOM * FRAME_MIB}Mi"
    with running_yard("--models", environ={"YARD_MODELS_FRAME_MEMORY": memory}) as yard:
        push_all(yard, MODELS)
        return asyncio.run(_measured(yard))


async def _settled(state: Path) -> int:
    """The memory when nothing runs any more that ends by itself."""
    before = 0
    while True:
        await asyncio.sleep(2)
        now = await asyncio.to_thread(memory_bytes, state)
        if before and abs(now - before) < before / 100:
            return now
        before = now


async def _measured(yard: Yard) -> list[Figure]:
    token = (yard.state / "secrets" / "admin.token").read_text().strip()
    async with connect(f"127.0.0.1:{yard.port_base + 4}", token=token) as channel:
        storm = Storm(channel, yard.state, MODELS)
        for number in range(ROOM):
            await storm.call(number, 1)
        full = [await _settled(yard.state)]
        await storm.unload_all()
        idle = await _settled(yard.state)
        storm.seen.seconds.clear()
        before = len(await storm.frames(with_ended=True))
        begun = time.perf_counter()
        await storm.rage(CALLS, CLIENTS)
        took_s = time.perf_counter() - begun
        full.append(await _settled(yard.state))
        await storm.unload_all()
        after = await _settled(yard.state)
    return _figures(storm.seen, took_s, storm.seen.loads - before, full, idle, after)


def _figures(seen: Seen, took_s: float, loads: int, full: list[int], idle: int, after: int) -> list[Figure]:
    what = f"models: {CALLS} calls of {MODELS} models, memory for {ROOM}"
    wrong = "; ".join(f"{count} × {why}" for why, count in seen.wrong.most_common(3))
    return [
        Figure(f"{what}, that failed", "calls", (float(seen.wrong.total()),), "0", wrong),
        Figure(f"{what}, loaded at once", "models", (float(seen.most_frames),), f"≤ {ROOM}",
               f"processes: {seen.most_processes}"),
        Figure(f"{what}, answered", "calls/s", (len(seen.seconds) / took_s,), "", f"{loads} loads"),
        Figure(f"{what}, median", "ms", (percentile(seen.seconds, 0.5) * 1e3,)),
        Figure(f"{what}, p99", "ms", (percentile(seen.seconds, 0.99) * 1e3,)),
        Figure(f"models: memory of all processes, {ROOM} loaded, before and after", "MB",
               tuple(one / 1e6 for one in full)),
        Figure("models: memory of all processes, none loaded, before and after", "MB",
               (idle / 1e6, after / 1e6), "± 10 %", f"{100 * (after / idle - 1):+.1f} %"),
    ]  # fmt: skip
