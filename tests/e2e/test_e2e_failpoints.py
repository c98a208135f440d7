"""Every named failpoint kills its service once, in the middle of work; nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.client.aio import Client
from modelyard.client.specs import command_spec
from modelyard.errors import YardError
from modelyard.v1 import task_pb2
from services.chassis.failpoints import POINTS, VARIABLE, FailpointHit, FailpointUnknown, arm, failpoint
from tests.support.processes import Processes
from tests.support.wait import wait_until_sync
from tests.support.yard import ROOT, Yard, new_yard

NEED_MORE = {name for name in POINTS if "notif" in name or name.startswith(("graph.", "trainer.", "models."))}
"""Killed at by test_e2e_notify.py, test_e2e_graph_recovery.py, test_e2e_training_failpoints.py and
test_e2e_models_failpoints.py."""
SERVICES = {"scheduler": "scheduler", "store": "store", "agent": "agent-node-1"}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: services live longer than one, and `processes` looks at the end."""


@pytest.fixture(scope="module")
def processes() -> Iterator[tuple[Yard, Processes]]:
    with new_yard(is_up=False, agents=1) as yard:
        made = Processes(yard)
        yield yard, made
        made.stop()
        assert not yard.left_over()


async def work(client: Client, tokens: Path) -> None:
    """Commands that leave a mark, calls, and an artefact; all of it must come to its good end."""
    script = f"sleep 0.05; echo $YARD_TASK_ID >> {tokens}"
    spec = command_spec(["sh", "-c", script], {"cpu": 0.4})
    ids = await client.tasks.submit(*[spec] * 12)
    calls = client.map("echo", [{"value": value} for value in range(40)], options={"cpu": 0.4})
    stored, values, *outcomes = await asyncio.gather(
        put(client, uuid.uuid4().bytes * 5000), calls, *(client.outcome(task_id) for task_id in ids)
    )
    assert values == list(range(40))
    assert stored
    assert {outcome.state for outcome in outcomes} == {task_pb2.TASK_STATE_SUCCEEDED}
    tasks = [await client.tasks.get(task_id) for task_id in ids]
    done = Counter(tokens.read_text().split())
    for task in tasks:
        assert 1 <= done[task.id] <= task.attempt, f"{task.id}: {done[task.id]} runs, {task.attempt} attempts"


async def put(client: Client, data: bytes) -> str:
    """Uploads until the store has it: an upload that breaks may be repeated."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        async with asyncio.timeout(30):
            while True:
                try:
                    return str(await client.artifacts.put(Path(file.name)))
                except YardError as error:
                    assert error.code in ("UNAVAILABLE", "CANCELLED"), error
                    await asyncio.sleep(0.2)


@pytest.mark.asyncio
@pytest.mark.parametrize("point", sorted(POINTS.keys() - NEED_MORE))
async def test_service_killed_at_a_failpoint_loses_nothing(
    processes: tuple[Yard, Processes], point: str, tmp_path: Path
) -> None:
    yard, made = processes
    service = SERVICES[point.partition(".")[0]]
    often = {"scheduler": 4, "agent": 2, "store": 1}[point.partition(".")[0]]
    is_fresh = point == "agent.before_spawn"  # an agent that finds its old workers spawns none
    wish = f"{point}:kill@{5 if is_fresh else often}"
    await asyncio.to_thread(made.restart, service, wish, is_fresh)
    async with yard.client() as client:
        working = asyncio.ensure_future(work(client, tmp_path / "tokens"))
        try:
            await asyncio.to_thread(
                wait_until_sync, lambda: made.ended(service) is not None, f"{service} dies", timeout_s=20,
                state=yard.logs,
            )  # fmt: skip
            assert made.ended(service) == -signal.SIGKILL
            made.start(service)
            async with asyncio.timeout(60):
                await working
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            if made.ended(service) is not None:
                made.start(service)
        await asyncio.to_thread(yard.wait_for, service)


@pytest.mark.asyncio
async def test_commit_that_fails_is_taken_back_and_the_scheduler_goes_on(
    processes: tuple[Yard, Processes], tmp_path: Path
) -> None:
    yard, made = processes
    made.restart("scheduler", "scheduler.before_commit:error@5")
    pid = made.pid("scheduler")
    async with yard.client() as client, asyncio.timeout(60):
        try:
            await work(client, tmp_path / "tokens")
        except YardError as error:
            assert error.reason == "FAILPOINT_HIT"
            await work(client, tmp_path / "again")
    assert (made.ended("scheduler"), made.pid("scheduler")) == (None, pid)
    assert "commit_failed" in (yard.state / "logs" / "scheduler.log").read_text()


def test_every_failpoint_stands_in_the_code_once() -> None:
    text = "".join(path.read_text() for path in (ROOT / "services").rglob("*.py"))
    # The streams of seats are the same code for both owners.
    for end in ("before_commands", "before_ack"):
        [place] = re.findall(rf'failpoint\(f"{{self\._\w+}}\.{end}"\)', text)
        text = text.replace(place, f'failpoint("trainer.{end}") failpoint("models.{end}")')
    assert {name: text.count(f'failpoint("{name}")') for name in POINTS} == dict.fromkeys(POINTS, 1)
    assert text.count('failpoint("') == len(POINTS)


def test_unknown_failpoint_stops_the_start() -> None:
    with new_yard(is_up=False, agents=1, environ={VARIABLE: "scheduler.befor_commit:kill"}) as yard:
        result = yard.up()
        assert result.code == 6
        assert "scheduler.befor_commit" in result.stderr
        assert not yard.processes()


def test_wish_is_obeyed_at_its_turn_and_off_means_off() -> None:
    try:
        arm({VARIABLE: "store.before_row:error@2, agent.after_send:pause=0.0@1"})
        failpoint("store.before_row")
        failpoint("agent.after_send")
        with pytest.raises(FailpointHit, match=r"store\.before_row"):
            failpoint("store.before_row")
        failpoint("store.before_row")
        for bad in ("store.before_row", "store.before_row:explode", "store.before_row:kill@0"):
            with pytest.raises(FailpointUnknown):
                arm({VARIABLE: bad})
    finally:
        arm({})
    failpoint("store.before_row")
    assert VARIABLE not in os.environ
