"""Seats on a real yard of two agents: what a trainer gets out of them, whatever dies (S3.5–S3.8, S3.10)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from modelyard.channel import connect
from modelyard.client.aio import Client
from modelyard.errors import YardError
from modelyard.v1 import job_pb2, task_pb2
from modelyard.v1 import seat_pb2 as pb
from tests.support.frames import is_alive
from tests.support.seat_trainer import SeatTrainer, seat_spec, seat_trainer, submit_seats
from tests.support.wait import wait_until
from tests.support.yard import Yard

pytestmark = pytest.mark.asyncio

FOREVER = ["sleep", "600"]


@asynccontextmanager
async def service_channel(yard: Yard) -> AsyncIterator[grpc.aio.Channel]:
    token = (yard.state / "secrets" / "service.token").read_text().strip()
    channel = connect(yard.endpoint, token=token)
    try:
        yield channel
    finally:
        await channel.close()


@asynccontextmanager
async def seats(yard: Yard) -> AsyncIterator[tuple[SeatTrainer, grpc.aio.Channel, Client]]:
    async with seat_trainer() as trainer, service_channel(yard) as channel, yard.client() as client:
        yield trainer, channel, client


def small(**fields: object) -> dict[str, object]:
    return {"resources": task_pb2.Resources(cpu=0.1), **fields}


async def outcome_of(client: Client, task_id: str) -> task_pb2.TaskOutcome:
    return await asyncio.wait_for(client.outcome(task_id), 30)


async def test_seat_opens_launches_true_ends_and_closes(yard: Yard) -> None:
    """The whole way of a seat, and of its task."""
    async with seats(yard) as (trainer, channel, client):
        (task_id,) = await submit_seats(channel, seat_spec(trainer, ports=["c10d"]))
        seat = await trainer.until(task_id, pb.SEAT_STATE_OPEN)
        assert (seat.job_id, seat.role, seat.index, seat.epoch) == ("j-1", "worker", 0, 0)
        assert seat.ports["c10d"] > 0
        trainer.launch(seat, 1, ["true"])
        ended = await trainer.until(task_id, pb.SEAT_STATE_ENDED)
        assert (ended.epoch, ended.exit.cause) == (1, job_pb2.EXIT_CAUSE_SUCCESS)
        trainer.close(ended)
        assert (await outcome_of(client, task_id)).state == task_pb2.TASK_STATE_SUCCEEDED
        await trainer.until(task_id, pb.SEAT_STATE_CLOSED)
        assert trainer.sessions[ended.exit.node].metadata["authorization"].startswith("Bearer yard_")


async def test_two_seats_of_two_nodes_talk_over_leased_ports(yard: Yard) -> None:  # S3.6, S3.7
    """A gang of an array: everybody has a place and an address before anybody starts."""
    async with seats(yard) as (trainer, channel, client):
        spec = seat_spec(trainer, ports=["talk"], spec=small(array_size=2))
        spec.gang.name = "pair"
        spec.placement.distinct_nodes = True
        (task_id,) = await submit_seats(channel, spec)
        first, second = [await trainer.until(f"{task_id}.{i}", pb.SEAT_STATE_OPEN) for i in range(2)]
        assert [first.index, second.index] == [0, 1]
        nodes = {trainer.node_of[f"{seat.task_id}/{seat.attempt}"] for seat in (first, second)}
        assert nodes == {"node-1", "node-2"}
        ip = trainer.sessions["node-1"].hello.ip
        serves = (
            f"import socket; s = socket.create_server(('{ip}', {first.ports['talk']}));"
            " c, _ = s.accept(); print(c.recv(9).decode())"
        )
        signs = [pb.SignSpec(id=7, listening="talk")]
        trainer.launch(first, 1, [sys.executable, "-c", serves], signs=signs)
        told = await trainer.heard(first.task_id, "sign")
        assert (told.sign.id, told.epoch) == (7, 1)
        says = (
            f"import socket; socket.create_connection(('{ip}', {first.ports['talk']})).sendall(b'good news')"
        )
        trainer.launch(second, 1, [sys.executable, "-c", says])
        ended = await trainer.until(first.task_id, pb.SEAT_STATE_ENDED)
        assert list(ended.exit.last_lines) == ["good news"]
        for seat in (ended, await trainer.until(second.task_id, pb.SEAT_STATE_ENDED)):
            trainer.close(seat)
        assert (await outcome_of(client, task_id)).state == task_pb2.TASK_STATE_SUCCEEDED


async def test_kept_files_and_failure_come_with_the_close(yard: Yard) -> None:
    async with seats(yard) as (trainer, channel, client):
        (task_id,) = await submit_seats(channel, seat_spec(trainer, spec=small()))
        seat = await trainer.until(task_id, pb.SEAT_STATE_OPEN)
        trainer.launch(seat, 1, ["sh", "-c", "mkdir out; echo model > out/model.pt; echo no > other"])
        trainer.close(
            await trainer.until(task_id, pb.SEAT_STATE_ENDED), "out/*", message="no evidence", is_failure=True
        )
        outcome = await outcome_of(client, task_id)
        assert (outcome.state, outcome.error.message) == (task_pb2.TASK_STATE_FAILED, "no evidence")
        task = await client.tasks.get(task_id)
        assert [output.name for output in task.result.outputs] == ["out/model.pt"]


async def test_agent_dies_and_the_next_one_has_the_seat_with_its_end(own_yard: Yard) -> None:
    """kill -9 of the agent: the process runs on, another seat's end is told by the next agent process."""
    yard = own_yard
    async with seats(yard) as (trainer, channel, client):
        spec = seat_spec(trainer, ports=["a"], spec=small())
        spec.placement.node = "node-1"
        lives, ends = await submit_seats(channel, spec, spec)
        open_seats = [await trainer.until(task_id, pb.SEAT_STATE_OPEN) for task_id in (lives, ends)]
        trainer.launch(open_seats[0], 4, FOREVER)
        trainer.launch(
            open_seats[1], 9, ["sh", "-c", "echo started; while [ ! -e go ]; do sleep 0.05; done; exit 5"]
        )
        running = [await trainer.until(task_id, pb.SEAT_STATE_RUNNING) for task_id in (lives, ends)]
        hellos = len(trainer.hellos)
        yard.kill("agent-node-1")
        Path(running[1].directory, "go").touch()
        await wait_until(lambda: not is_alive(running[1].pids[0]), "it ends while nobody looks")
        await wait_until(lambda: len(trainer.hellos) > hellos, "hello again", timeout_s=30, state=yard.logs)
        ended = await trainer.until(ends, pb.SEAT_STATE_ENDED)
        assert (ended.epoch, ended.exit.exit_code, ended.exit.last_lines[0]) == (9, 5, "started")
        again = await trainer.until(lives, pb.SEAT_STATE_RUNNING)
        assert (again.epoch, again.pids, again.ports) == (4, running[0].pids, running[0].ports)
        assert trainer.hellos[-1].incarnation > trainer.hellos[0].incarnation
        # The same epoch again is no second start.
        trainer.launch(again, 4, FOREVER)
        trainer.launch(again, 3, FOREVER)
        await trainer.heard(lives, "refusal", lambda refusal: refusal.reason == "STALE_EPOCH")
        assert trainer.seat(lives).pids == running[0].pids  # type: ignore[union-attr]
        for seat in (again, ended):
            trainer.close(seat)
        for task_id in (lives, ends):
            assert (await outcome_of(client, task_id)).state == task_pb2.TASK_STATE_SUCCEEDED
        assert not is_alive(running[0].pids[0])


async def test_shim_dies_and_nothing_of_the_seat_is_left(own_yard: Yard) -> None:
    yard = own_yard
    async with seats(yard) as (trainer, channel, client):
        (task_id,) = await submit_seats(channel, seat_spec(trainer, spec=small()))
        seat = await trainer.until(task_id, pb.SEAT_STATE_OPEN)
        trainer.launch(seat, 1, ["sh", "-c", "setsid sleep 601 & setsid sh -c '(sleep 602 &)'; sleep 600"])
        seat = await trainer.until(task_id, pb.SEAT_STATE_RUNNING)
        await wait_until(lambda: len(sleepers(yard)) == 3, "three sleepers", state=yard.task_processes)
        os.kill(parent_of(seat.pids[0]), signal.SIGKILL)
        closed = await trainer.until(task_id, pb.SEAT_STATE_CLOSED)
        assert (closed.exit.cause, closed.exit.epoch) == (job_pb2.EXIT_CAUSE_NODE_LOST, 1)
        assert (await outcome_of(client, task_id)).state == task_pb2.TASK_STATE_FAILED
        await wait_until(lambda: not sleepers(yard), "nothing is left", state=yard.task_processes)


async def test_shim_and_launcher_and_agent_die_and_nothing_of_the_seat_is_left(
    own_yard: Yard,
) -> None:  # S3.10
    """Whoever could know its children is gone: the next agent finds them by their cookie."""
    yard = own_yard
    async with seats(yard) as (trainer, channel, client):
        spec = seat_spec(trainer, spec=small())
        spec.placement.node = "node-1"
        (task_id,) = await submit_seats(channel, spec)
        seat = await trainer.until(task_id, pb.SEAT_STATE_OPEN)
        trainer.launch(seat, 1, ["sh", "-c", "setsid sleep 601 & sleep 600"])
        seat = await trainer.until(task_id, pb.SEAT_STATE_RUNNING)
        await wait_until(lambda: len(sleepers(yard)) == 2, "two sleepers", state=yard.task_processes)
        shim = parent_of(seat.pids[0])
        launcher = parent_of(shim)
        os.kill(launcher, signal.SIGSTOP)
        agent = yard.kill("agent-node-1")
        for pid in (shim, launcher):
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(yard.wait_for, "agent-node-1", not_pid=agent)
        assert (await outcome_of(client, task_id)).state == task_pb2.TASK_STATE_FAILED
        await wait_until(lambda: not sleepers(yard), "nothing is left", state=yard.task_processes)


async def test_scheduler_and_trainer_die_and_the_seat_goes_on(own_yard: Yard) -> None:
    yard = own_yard
    async with seats(yard) as (trainer, channel, client):
        (task_id,) = await submit_seats(channel, seat_spec(trainer, spec=small()))
        seat = await trainer.until(task_id, pb.SEAT_STATE_OPEN)
        trainer.launch(seat, 1, ["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done; echo done"])
        seat = await trainer.until(task_id, pb.SEAT_STATE_RUNNING)
        scheduler = yard.kill("scheduler")
        await trainer.stop()
        Path(seat.directory, "go").touch()
        await wait_until(lambda: not is_alive(seat.pids[0]), "it ends while nobody hears of it")
        trainer.epoch = 2
        await trainer.start()
        await asyncio.to_thread(yard.wait_for, "scheduler", not_pid=scheduler)
        ended = await trainer.until(task_id, pb.SEAT_STATE_ENDED)
        assert ended.exit.cause == job_pb2.EXIT_CAUSE_SUCCESS
        trainer.close(ended)
        assert (await outcome_of(client, task_id)).state == task_pb2.TASK_STATE_SUCCEEDED


async def test_trainer_of_a_lower_epoch_is_not_obeyed(own_yard: Yard) -> None:
    async with seats(own_yard) as (trainer, channel, client):
        trainer.epoch = 7
        (task_id,) = await submit_seats(channel, seat_spec(trainer, spec=small()))
        seat = await trainer.until(task_id, pb.SEAT_STATE_OPEN)
        await trainer.stop()
        trainer.epoch = 6
        hellos = len(trainer.hellos)
        await trainer.start()
        await wait_until(lambda: len(trainer.hellos) > hellos, "hello to the old one", timeout_s=30)
        assert trainer.hellos[-1].max_epoch == 7
        trainer.launch(seat, 1, FOREVER)
        await trainer.stop()
        trainer.epoch = 8
        hellos = len(trainer.hellos)
        await trainer.start()
        await wait_until(lambda: len(trainer.hellos) > hellos, "hello to the new one", timeout_s=30)
        assert [(s.task_id, s.epoch) for s in trainer.hellos[-1].seats] == [(task_id, 0)]
        trainer.close(trainer.hellos[-1].seats[0])
        assert (await outcome_of(client, task_id)).state == task_pb2.TASK_STATE_SUCCEEDED


async def test_cancelled_and_overdue_seats_end_with_all_that_runs(yard: Yard) -> None:  # S3.10
    async with seats(yard) as (trainer, channel, client):
        overdue = seat_spec(trainer, spec=small())
        overdue.timeouts.run_timeout.FromSeconds(2)
        ids = await submit_seats(channel, seat_spec(trainer, spec=small()), overdue)
        pids = []
        for task_id in ids:
            trainer.launch(await trainer.until(task_id, pb.SEAT_STATE_OPEN), 1, FOREVER)
            pids += (await trainer.until(task_id, pb.SEAT_STATE_RUNNING)).pids
        await client.tasks.cancel(ids[0])
        assert (await outcome_of(client, ids[0])).state == task_pb2.TASK_STATE_CANCELLED
        outcome = await outcome_of(client, ids[1])
        assert outcome.error.cause == task_pb2.TASK_CAUSE_TIMEOUT
        for task_id in ids:
            await trainer.until(task_id, pb.SEAT_STATE_CLOSED)
        assert not any(map(is_alive, pids))


async def test_overdue_seat_ends_in_time_while_its_agent_is_away(yard: Yard) -> None:  # S3.10
    """The agent neither runs nor dies; its shims keep the time, and it finds out later."""
    async with seats(yard) as (trainer, channel, client):
        spec = seat_spec(trainer, spec=small())
        spec.timeouts.run_timeout.FromSeconds(2)
        (task_id,) = await submit_seats(channel, spec)
        trainer.launch(await trainer.until(task_id, pb.SEAT_STATE_OPEN), 1, FOREVER)
        pids = (await trainer.until(task_id, pb.SEAT_STATE_RUNNING)).pids
        agents = [json.loads(file.read_text())["pid"] for file in yard.state.glob("run/agent-*.json")]
        for agent in agents:
            os.kill(agent, signal.SIGSTOP)
        try:
            await wait_until(lambda: not any(map(is_alive, pids)), "the processes have ended", timeout_s=30)
        finally:
            for agent in agents:
                os.kill(agent, signal.SIGCONT)
        assert (await outcome_of(client, task_id)).error.cause == task_pb2.TASK_CAUSE_TIMEOUT


async def test_seat_that_cannot_be_made_ready_fails_and_was_never_open(yard: Yard) -> None:
    async with seats(yard) as (trainer, channel, client):
        spec = seat_spec(trainer, spec=small())
        spec.environment.requirements = "no-such-distribution-of-modelyard==1"
        (task_id,) = await submit_seats(channel, spec)
        outcome = await asyncio.wait_for(client.outcome(task_id), 60)
        assert outcome.error.cause == task_pb2.TASK_CAUSE_SETUP
        assert all(seat.state == pb.SEAT_STATE_PREPARING for seat in trainer.seats.values())


async def test_only_services_on_behalf_of_an_account_submit_seats(yard: Yard) -> None:
    async with seats(yard) as (trainer, _, client):
        with pytest.raises(YardError) as refusal:
            await client.tasks.submit(seat_spec(trainer))
        assert (refusal.value.reason, refusal.value.field) == ("SEAT_FORBIDDEN", "specs[0].seat")
        with pytest.raises(YardError) as refusal:
            await client.tasks.plan(seat_spec(trainer))
        assert refusal.value.reason == "SEAT_FORBIDDEN"


async def test_seat_avoids_nodes_and_says_so(yard: Yard) -> None:
    async with seats(yard) as (trainer, channel, client):
        spec = seat_spec(trainer, spec=small())
        spec.placement.avoid_nodes.append("node-1")
        (task_id,) = await submit_seats(channel, spec)
        seat = await trainer.until(task_id, pb.SEAT_STATE_OPEN)
        assert trainer.node_of[f"{task_id}/1"] == "node-2"
        explained = await client.tasks.explain(task_id)
        assert {node.node: node.reason for node in explained.nodes}["node-1"] == "AVOIDED"
        trainer.close(seat)
        await outcome_of(client, task_id)


async def test_drained_agent_ends_its_seats(own_yard: Yard) -> None:  # S3.10
    """The fixture looks for what is left."""
    yard = own_yard
    async with seats(yard) as (trainer, channel, _):
        (task_id,) = await submit_seats(channel, seat_spec(trainer, spec=small()))
        seat = await trainer.until(task_id, pb.SEAT_STATE_OPEN)
        trainer.launch(
            seat, 1, ["sh", "-c", "trap '' TERM; (setsid sleep 601 &); while :; do sleep 0.1; done"]
        )
        seat = await trainer.until(task_id, pb.SEAT_STATE_RUNNING)
        result = await asyncio.to_thread(yard.cli, "down")
        assert result.code == 0, result.stderr
        assert not is_alive(seat.pids[0])
        assert not yard.task_processes()


async def test_program_starts_with_the_modules_of_a_warm_parent(yard: Yard) -> None:
    async with seats(yard) as (trainer, channel, client):
        seat_of = {
            name: seat_spec(trainer, imports=[name], spec=small()) for name in ("fractions", "no_such_module")
        }
        code = "import sys; print('fractions' in sys.modules)"
        said = {}
        for name, spec in seat_of.items():
            (task_id,) = await submit_seats(channel, spec)
            seat = await trainer.until(task_id, pb.SEAT_STATE_OPEN)
            trainer.launch(seat, 1, ["python", "-c", code], imports=[name])
            ended = await trainer.until(task_id, pb.SEAT_STATE_ENDED)
            said[name] = ended.exit.last_lines[0]
            trainer.close(ended)
            assert (await outcome_of(client, task_id)).state == task_pb2.TASK_STATE_SUCCEEDED
        assert said == {"fractions": "True", "no_such_module": "False"}


def sleepers(yard: Yard) -> list[int]:
    return [pid for pid, words in yard.task_processes().items() if words.startswith("sleep 60")]


def parent_of(pid: int) -> int:
    import psutil

    return psutil.Process(pid).ppid()
