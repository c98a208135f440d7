"""An upgrade, one service after the other, while tasks, runs, jobs and calls of a model go on: nothing is lost or done
twice, and who works with the yard is told of no gap (issue 7, point 4)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from modelyard.errors import YardError
from tests.chaos.load import Mixed
from tests.support.processes import Processes
from tests.support.wait import wait_until
from tests.support.yard import Yard, new_yard

SERVICES = ("scheduler", "store", "graph", "trainer", "models")
PATIENCE_S = 60.0
"""How long a call of a model, which is sent once, is asked again by who makes it: docs/operations.md, "Upgrade"."""
AFTERWARDS_S = 120.0


class Working(Mixed):
    """The load of people who are told of no error: the first ends it."""

    broken: BaseException | None = None

    async def run(self, kind: Callable[[], Awaitable[None]], until: asyncio.Event) -> None:
        try:
            await super().run(kind, until)
        except (YardError, AssertionError) as error:
            self.broken = error
            raise

    async def _answered(self, ask: Callable[[], Awaitable[object]]) -> object:
        """What the client itself does not bear ends the load."""
        return await ask()

    async def model_call(self) -> None:
        """Repeated by its caller while the service is not there: only the caller knows whether it may be."""
        value, begun = self._dice.randrange(10**6), time.monotonic()
        while True:
            try:
                got = await self._client.models.call("adder", {"x": [value]})
            except YardError as error:
                if error.code != "UNAVAILABLE" or time.monotonic() - begun > PATIENCE_S:
                    raise
                await asyncio.sleep(0.2)
            else:
                [number] = next(iter(got.outputs.values())).value
                assert number == value + 5
                self.counted["model calls"] += 1
                return


async def upgrade(yard: Yard, processes: Processes, load: Working) -> None:
    """As docs/operations.md has it: each service by SIGTERM and a new process, then each agent."""
    for name in SERVICES:
        before = processes.pid(name)
        await asyncio.to_thread(processes.restart, name, "")
        assert processes.pid(name) != before
        await goes_on(load)
    for node in yard.nodes:
        result = await asyncio.to_thread(yard.cli, "agent", "restart", "--name", node)
        assert result.code == 0, result.stderr
        await goes_on(load)


async def goes_on(load: Working) -> None:
    """Each kind of work ends once more, so that the next gap meets all of them."""
    wanted = {kind: load.counted[kind] + 1 for kind in ("tasks", "runs", "jobs", "model calls")}
    await wait_until(
        lambda: all(load.counted[kind] >= count for kind, count in wanted.items()) or load.broken is not None,
        "every kind of work goes on", timeout_s=AFTERWARDS_S, state=lambda: f"{load.counted}, wanted {wanted}",
    )  # fmt: skip
    assert load.broken is None, repr(load.broken)


@pytest.mark.asyncio
@pytest.mark.timeout(400)
async def test_upgrade_of_one_service_after_the_other_loses_nothing(tmp_path: Path) -> None:
    with new_yard(is_up=False, agents=2) as yard:
        processes = await asyncio.to_thread(Processes, yard, trainer=True, models=True)
        try:
            async with yard.client() as client:
                load = Working(client, tmp_path, random.Random(7))
                await load.prepare(tmp_path)
                over = asyncio.Event()
                kinds = [load.task, load.run_of_canvas, load.job, load.model_call]
                workers = [asyncio.ensure_future(load.run(kind, over)) for kind in kinds]
                try:
                    await upgrade(yard, processes, load)
                finally:
                    over.set()
                    done, late = await asyncio.wait(workers, timeout=AFTERWARDS_S)
                    for one in late:
                        one.cancel()
                    await asyncio.gather(*late, return_exceptions=True)
                assert not late
                for one in done:
                    one.result()
                wrong = await load.check()
                assert not wrong, wrong[:20]
                await load.end()
            await wait_until(
                lambda: not yard.task_leavings(), "nothing is left", timeout_s=20, state=yard.task_leavings
            )
        finally:
            await asyncio.to_thread(processes.stop)
