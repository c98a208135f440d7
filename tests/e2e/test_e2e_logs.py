"""Followed logs are whole: no line lost, none doubled, the last one kept, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from modelyard.client.aio import Client
from modelyard.v1 import task_pb2
from tests.support.yard import Yard

FOLLOWED = 1000
LONG = 100_000


@dataclass(frozen=True)
class Chatter:
    """A command, and exactly what it writes."""

    script: str
    stdout: bytes
    stderr: bytes = b""


def chatter(number: int) -> Chatter:
    """Of several manners: at once, slowly, without a last newline, on both streams, silent, and a few long."""
    if number % 250 == 7:
        lines = "".join(f"{line}\n" for line in range(1, LONG + 1))
        return Chatter(f"seq {LONG}; printf end", (lines + "end").encode())
    kinds = [
        Chatter(f"echo only {number}", f"only {number}\n".encode()),
        Chatter(f"printf 'no newline {number}'", f"no newline {number}".encode()),
        Chatter(
            f"echo a {number}; sleep 0.1; echo b {number}; echo c >&2; printf d",
            f"a {number}\nb {number}\nd".encode(),
            b"c\n",
        ),
        Chatter("seq 50; seq 50 >&2", *[b"".join(b"%d\n" % line for line in range(1, 51))] * 2),
        Chatter("true", b""),
    ]
    return kinds[number % len(kinds)]


async def follow(client: Client, task_id: str) -> tuple[bytes, bytes]:
    """Both streams, each chunk exactly where the last one ended."""
    streams = {task_pb2.LOG_STREAM_STDOUT: bytearray(), task_pb2.LOG_STREAM_STDERR: bytearray()}
    async for chunk in client.tasks.logs(task_id, follow=True):
        stream = streams[chunk.stream]
        assert chunk.offset == len(stream), f"{task_id}: a chunk at {chunk.offset} after {len(stream)} bytes"
        stream += chunk.data
    return bytes(streams[task_pb2.LOG_STREAM_STDOUT]), bytes(streams[task_pb2.LOG_STREAM_STDERR])


async def submit(client: Client, chatters: list[Chatter]) -> list[str]:
    specs = []
    for one in chatters:
        spec = task_pb2.TaskSpec(command=task_pb2.CommandWork(argv=["sh", "-c", one.script]))
        spec.resources.cpu = 0.2
        specs.append(spec)
    return await client.tasks.submit(*specs)


@pytest.mark.asyncio
async def test_a_thousand_followed_logs_are_whole_while_agents_are_killed(own_yard: Yard) -> None:
    chatters = [chatter(number) for number in range(FOLLOWED)]
    async with own_yard.client() as client:
        ids = await submit(client, chatters)
        following = asyncio.gather(*(follow(client, task_id) for task_id in ids))
        for victim in ("agent-node-1", "agent-node-2", "agent-node-1"):
            await asyncio.sleep(1.5)  # a moment of the run, not a wait for something
            pid = await asyncio.to_thread(own_yard.kill, victim)
            await asyncio.to_thread(own_yard.wait_for, victim, not_pid=pid)
        async with asyncio.timeout(90):
            logs = await following
    wrong = [
        (task_id, one.script, len(one.stdout), len(out), len(one.stderr), len(err))
        for task_id, one, (out, err) in zip(ids, chatters, logs, strict=True)
        if (out, err) != (one.stdout, one.stderr)
    ]
    assert not wrong, f"{len(wrong)} logs are not whole, for example {wrong[:5]}"


@pytest.mark.asyncio
async def test_followed_log_goes_on_over_the_death_of_the_scheduler(own_yard: Yard) -> None:
    script = "for i in $(seq 60); do echo line $i; sleep 0.05; done; printf last"
    async with own_yard.client() as client:
        [task_id] = await submit(client, [Chatter(script, b"")])
        following = asyncio.ensure_future(follow(client, task_id))
        pid = await asyncio.to_thread(own_yard.kill, "scheduler")
        await asyncio.to_thread(own_yard.wait_for, "scheduler", not_pid=pid)
        async with asyncio.timeout(60):
            stdout, _ = await following
    assert stdout.decode() == "".join(f"line {line}\n" for line in range(1, 61)) + "last"


def test_run_prints_every_line_and_the_last_one_without_newline(own_yard: Yard) -> None:
    result = own_yard.cli("run", "--cpu", "0.2", "--", "sh", "-c", f"seq {LONG}; printf end")
    assert result.code == 0, result.stderr
    assert result.stdout == "".join(f"{line}\n" for line in range(1, LONG + 1)) + "end"
