"""Seats as a trainer gets them: from a gang's submission to its processes, cold and warm, and what idle ones cost.

The trainer is the tests' own: what it needs for its part is in the figures.
"""

import asyncio
import time
from collections.abc import Sequence

import grpc.aio
import psutil

from bench.figures import Figure
from bench.yard import Yard, running_yard
from modelyard.channel import connect
from modelyard.v1 import seat_pb2 as pb
from modelyard.v1 import task_pb2
from tests.support.seat_trainer import SeatTrainer, seat_spec, seat_trainer, submit_seats

TURNS, MEMBERS, IDLE = 10, 4, 100
WARM_MODULE = "numpy"
SETTLE_S, WATCH_S = 5.0, 15.0


def measure() -> list[Figure]:
    with running_yard("--agents", "2", "--cpu", "8") as yard:
        return asyncio.run(_measure(yard))


async def _measure(yard: Yard) -> list[Figure]:
    token = (yard.state / "secrets" / "service.token").read_text().strip()
    async with seat_trainer() as trainer, connect(f"127.0.0.1:{yard.port_base}", token=token) as channel:
        desk = Desk(trainer, channel)
        plain = [await desk.gang(MEMBERS, ["true"]) for _ in range(TURNS)]
        code = ["python", "-c", f"import time, {WARM_MODULE}; print('up', time.time())"]
        cold = [await desk.gang(2, code) for _ in range(3)]
        warm = [await desk.gang(2, code, WARM_MODULE) for _ in range(TURNS + 1)][1:]
        idle = await desk.idle_ratio(yard, IDLE)
    return [
        Figure("seats: 4 submitted as a gang → all open", "ms", _column(plain, 0)),
        Figure(
            "seats: 4 submitted as a gang → all their processes run", "ms", _column(plain, 1), "p95 ≤ 300"
        ),
        Figure(f"seats: 2 submitted → past `import {WARM_MODULE}`, cold", "ms", _column(cold, 2)),
        Figure("seats: the same, forked from a warm parent", "ms", _column(warm, 2), "≤ 300"),
        Figure(
            f"seats: {IDLE} idle instances, shims and both agents", "% of a core", (idle * 100,), "300: ≤ 30"
        ),
    ]


def _column(turns: Sequence[tuple[float, ...]], place: int) -> tuple[float, ...]:
    return tuple(turn[place] for turn in turns)


class Desk:
    """What a trainer does, with a clock."""

    def __init__(self, trainer: SeatTrainer, channel: grpc.aio.Channel) -> None:
        self._trainer = trainer
        self._channel = channel

    async def gang(self, count: int, argv: Sequence[str], *imports: str) -> tuple[float, ...]:
        """Milliseconds until all are open, run, and (where they print it) are up."""
        begun = time.time()
        ids = await self._submit(count, *imports)
        seats = [await self._trainer.until(task_id, pb.SEAT_STATE_OPEN) for task_id in ids]
        opened = time.time()
        for seat in seats:
            self._trainer.launch(seat, 1, argv, imports=imports)
        ends = [await self._trainer.until(task_id, pb.SEAT_STATE_ENDED) for task_id in ids]
        running = [
            event.time.ToMilliseconds() / 1000
            for event in self._trainer.events
            if event.task_id in ids and event.seat.state == pb.SEAT_STATE_RUNNING
        ]
        up = [
            float(line.split()[1]) for end in ends for line in end.exit.last_lines if line.startswith("up ")
        ]
        await self._close(ends)
        return tuple(1000 * (moment - begun) for moment in (opened, max(running), max(up, default=begun)))

    async def idle_ratio(self, yard: Yard, count: int) -> float:
        """Cores that so many running instances cost which do nothing."""
        ids = await self._submit(count)
        for task_id in ids:
            self._trainer.launch(await self._trainer.until(task_id, pb.SEAT_STATE_OPEN), 1, ["sleep", "600"])
        seats = [await self._trainer.until(task_id, pb.SEAT_STATE_RUNNING) for task_id in ids]
        await asyncio.sleep(SETTLE_S)
        before, begun = _cpu_s(yard), time.perf_counter()
        await asyncio.sleep(WATCH_S)
        ratio = (_cpu_s(yard) - before) / (time.perf_counter() - begun)
        await self._close(seats)
        return ratio

    async def _submit(self, count: int, *imports: str) -> list[str]:
        spec = seat_spec(self._trainer, ports=["main"], imports=imports)
        spec.array_size, spec.gang.name = count, "bench"
        spec.resources.CopyFrom(task_pb2.Resources(cpu=0.05))
        (task_id,) = await submit_seats(self._channel, spec)
        return [f"{task_id}.{index}" for index in range(count)]

    async def _close(self, seats: Sequence[pb.Seat]) -> None:
        for seat in seats:
            self._trainer.close(seat)
        for seat in seats:
            await self._trainer.until(seat.task_id, pb.SEAT_STATE_CLOSED)


def _cpu_s(yard: Yard) -> float:
    """Of all processes of the agents so far."""
    total = 0.0
    for process in psutil.process_iter(["cmdline", "cpu_times"]):
        words = " ".join(process.info["cmdline"] or [])
        if str(yard.state) in words and "services.agent" in words:
            total += process.info["cpu_times"].user + process.info["cpu_times"].system
    return total
