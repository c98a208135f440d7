"""Following a training job to its end: drawn on a terminal, else lines of what happened. Goes to stderr."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING

from cli.output.job_board import JobBoard
from cli.output.jobs import instance_state, line_of, state_of
from modelyard.errors import YardError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelyard.client.aio import Client
    from modelyard.v1 import job_pb2

DRAW_S, CURVE_S = 0.2, 2.0
CURVE_POINTS = 240
PLAIN_STEP, PLAIN_S = 0.1, 30.0
"""In a pipe progress is told for each further tenth, or so seldom."""


async def followed(client: Client, job_id: str, metric: str = "", *, may_draw: bool = True) -> job_pb2.Job:
    """The job once it has ended. ``metric``: whose curve is drawn; else the loss, or what there is."""
    is_drawn = may_draw and JobBoard.is_wanted()
    screen: _Lines | _Drawing = _Drawing(client, job_id, metric) if is_drawn else _Lines()
    job = None
    async with screen:
        async for response in client.jobs.watch(job_id):
            job = response.job
            screen.show(job, response.instances)
    assert job is not None
    return job


class _Lines:
    """For pipes: what changes, a line each."""

    def __init__(self) -> None:
        self._state = ""
        self._told: dict[tuple[str, int], tuple[str, float, float]] = {}

    async def __aenter__(self) -> None:
        return

    async def __aexit__(self, *_: object) -> None:
        return

    def show(self, job: job_pb2.Job, instances: Iterable[job_pb2.Instance]) -> None:
        for one in instances:
            if self._is_news(one):
                _say(f"  {line_of(one)}")
        if self._state != (state := state_of(job)):
            self._state = state
            _say(f"{job.id} {state}" + (f": {job.message}" if job.message else ""))

    def _is_news(self, one: job_pb2.Instance) -> bool:
        key, now_s, ratio = (one.role, one.index), time.monotonic(), one.progress.ratio
        # Who has ended gives back its place: that alone is no news.
        node = "" if one.exit.cause else one.address.node
        what = f"{instance_state(one)} {one.epoch} {one.message} {node}"
        known = self._told.get(key)
        is_further = known is not None and (
            ratio >= known[1] + PLAIN_STEP
            or (ratio == 1.0 and known[1] < 1.0)
            or (not known[1] and bool(ratio or one.progress.metrics))
            or now_s - known[2] > PLAIN_S
        )
        if known is not None and known[0] == what and not is_further:
            return False
        # Something was told, if only metrics: the next is a tenth further, or later.
        said = max(ratio, 1e-9) if ratio or one.progress.metrics else 0.0
        self._told[key] = (what, said, now_s)
        return True


class _Drawing:
    """For terminals: drawn a few times a second, the curve asked for more seldom."""

    def __init__(self, client: Client, job_id: str, metric: str) -> None:
        self._client = client
        self._job_id = job_id
        self._metric = metric
        self._board = JobBoard()
        self._job: job_pb2.Job | None = None
        self._instances: dict[tuple[str, int], job_pb2.Instance] = {}
        self._series: job_pb2.MetricSeries | None = None
        self._state = ""
        self._is_stale = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        self._tasks = [asyncio.create_task(self._redraw()), asyncio.create_task(self._ask())]

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        with contextlib.suppress(YardError):
            await self._learn()
        self._draw()

    def show(self, job: job_pb2.Job, instances: Iterable[job_pb2.Instance]) -> None:
        self._job = job
        for one in instances:
            self._instances[one.role, one.index] = one
            if instance_state(one) in ("failed", "backing_off"):
                self._say(line_of(one))
        if self._state != (state := state_of(job)):
            self._state = state
            self._say(f"{job.id} {state}" + (f": {job.message}" if job.message else ""))
        counts = {role.name: role.count for role in job.roles}
        self._instances = {
            key: one for key, one in self._instances.items() if one.index < counts.get(one.role, 0)
        }
        self._is_stale = True

    def _say(self, line: str) -> None:
        self._board.clear()
        _say(line)

    def _draw(self) -> None:
        if self._job is not None:
            order = {role.name: place for place, role in enumerate(self._job.roles)}
            shown = sorted(self._instances.values(), key=lambda one: (order.get(one.role, 0), one.index))
            self._board.draw(self._job, shown, self._series)

    async def _redraw(self) -> None:
        while True:
            if self._is_stale:
                self._is_stale = False
                self._draw()
            await asyncio.sleep(DRAW_S)

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep(CURVE_S / 4 if self._series is None else CURVE_S)
            with contextlib.suppress(YardError):
                # The next question may be answered; the bars do not need it.
                await self._learn()

    async def _learn(self) -> None:
        if self._job is None or not (self._series is not None or _has_metrics(self._instances.values())):
            return
        names = [self._metric] if self._metric else []
        found = await self._client.jobs.metrics(self._job_id, names, CURVE_POINTS)
        self._series = best_of(found, [role.name for role in self._job.roles])
        self._is_stale = True


def _has_metrics(instances: Iterable[job_pb2.Instance]) -> bool:
    return any(one.progress.metrics for one in instances)


def best_of(series: Sequence[job_pb2.MetricSeries], roles: Sequence[str]) -> job_pb2.MetricSeries | None:
    """The loss of the first instance that tells one; else what has most points."""
    order = {role: place for place, role in enumerate(roles)}

    def rank(one: job_pb2.MetricSeries) -> tuple[bool, bool, int, int, int]:
        return one.name != "loss", "loss" not in one.name, -one.point_count, order.get(one.role, 0), one.index

    return min(series, key=rank, default=None)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
