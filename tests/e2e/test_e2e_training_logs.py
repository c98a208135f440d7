"""Logs of training jobs: whole lines, every epoch, every seat, to the last byte (S3.10, issue 5.7)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from modelyard.client import Client
from modelyard.v1 import job_pb2
from tests.support.training_yard import TrainingYard, training_yard
from tests.support.wait import wait_until

LINES = 400
CHATTER = """kind: Job
framework: pytorch-ddp
name: chatter
argv: [sh, -c, 'for i in $(seq {lines}); do echo "$RANK says $i"; echo "$RANK errs $i" >&2; done; {then}']
resources: {{cpu: 0.1}}
roles:
  worker: {{count: 2, restart: {{backoff: [50ms, 1s]}}}}
"""
LOST = """kind: Job
framework: plain
name: lost
argv: [sh, -c, 'echo "epoch by $$"; echo "err" >&2; while [ ! -e {door} ]; do sleep 0.05; done; echo ends']
resources: {{cpu: 0.1}}
roles:
  worker: {{count: 1, restart: {{when: [node_lost], scope: instance, max: 3, backoff: [50ms, 1s]}}}}
"""


@pytest.fixture(scope="module")
def yard_of_module() -> Iterator[TrainingYard]:
    with training_yard() as made:
        yield made


@pytest.fixture
def yard(yard_of_module: TrainingYard) -> TrainingYard:
    return yard_of_module.emptied()


@asynccontextmanager
async def client_of(yard: TrainingYard) -> AsyncIterator[Client]:
    client = yard.yard.client()
    try:
        yield client
    finally:
        await client.close()


def streams(chunks: list[job_pb2.StreamJobLogsResponse]) -> dict[tuple[str, int], bytes]:
    """What each wrote to stdout and stderr; offsets have no gap and no overlap."""
    found: dict[tuple[str, int], bytes] = defaultdict(bytes)
    for chunk in chunks:
        key = (f"{chunk.role}-{chunk.index}", int(chunk.stream))
        assert chunk.offset == len(found[key]), f"{key}: {chunk.offset} after {len(found[key])}"
        found[key] += chunk.data
    return found


def says(text: bytes) -> list[str]:
    return [line for line in text.decode().splitlines() if not line.startswith("──")]


def test_merged_log_follows_every_rank_in_whole_lines_to_the_last_byte(yard: TrainingYard) -> None:
    job_id = yard.submit(CHATTER.format(lines=LINES, then="printf %s-end $RANK"))
    done = yard.yard.cli("train", "logs", job_id, "--follow")
    assert done.code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3 * LINES + 3 and yard.until(job_id, "SUCCEEDED")
    ranks = {"master-0": "0", "worker-0": "1", "worker-1": "2"}
    for name, rank in ranks.items():
        own = [line.removeprefix(f"{name} | ") for line in lines if line.startswith(f"{name} | ")]
        assert own == [f"{rank} says {i}" for i in range(1, LINES + 1)] + [f"{rank}-end"]
    assert sum(" errs " in line for line in done.stderr.splitlines()) == 3 * LINES
    alone = yard.yard.cli("train", "logs", job_id, "worker-1")
    assert alone.stdout == "".join(f"2 says {i}\n" for i in range(1, LINES + 1)) + "2-end"
    of_role = yard.yard.cli("train", "logs", job_id, "worker", "--in-turn", "-o", "json")
    told = [json.loads(line) for line in of_role.stdout.splitlines()]
    assert [one["index"] for one in told] == sorted(one["index"] for one in told)
    assert {(one["role"], one["epoch"]) for one in told} == {("worker", 1)}
    wrong = yard.yard.cli("train", "logs", job_id, "judge-0")
    assert wrong.code == 2 and "worker" in wrong.stderr


def test_log_of_an_instance_has_every_epoch_and_resumes_at_any_byte(yard: TrainingYard) -> None:
    mark = yard.room / "failed"
    then = f"[ $RANK != 1 -o -e {mark} ] || {{ touch {mark}; exit 3; }}"
    job_id = yard.submit(CHATTER.format(lines=5, then=then))
    yard.until(job_id, "SUCCEEDED")

    async def check() -> None:
        async with client_of(yard) as client:
            whole = [chunk async for chunk in client.jobs.logs(job_id, "worker", 0)]
            text = streams(whole)["worker-0", 1]
            assert says(text) == [f"1 says {i}" for i in range(1, 6)] * 2
            assert {chunk.epoch for chunk in whole} == {1, 2}
            stub = client.jobs._stub
            for offset in (0, 1, len(text) // 2, len(text) - 1, len(text), len(text) + 7):
                request = job_pb2.StreamJobLogsRequest(
                    job_id=job_id, role="worker", index=0, offsets={"worker-0/stdout": offset}
                )
                rest = [chunk async for chunk in stub.StreamJobLogs(request) if chunk.stream == 1]
                assert b"".join(chunk.data for chunk in rest) == text[offset:]
                assert not rest or rest[0].offset == offset

    asyncio.run(check())


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_log_goes_on_over_a_lost_seat_and_killed_services(yard: TrainingYard) -> None:
    """I6: the log of an instance is that of all its seats; who follows misses nothing and gets nothing twice."""
    job_id = yard.submit(LOST.format(door=yard.room / "door"))

    async def check() -> None:
        async with client_of(yard) as client:
            told: list[job_pb2.StreamJobLogsResponse] = []

            async def follow() -> None:
                async for chunk in client.jobs.logs(job_id, follow=True, merge=True):
                    told.append(chunk)

            following = asyncio.create_task(follow())

            def begun() -> list[str]:
                return says(streams(told)["worker-0", 1])

            await wait_until(lambda: len(begun()) == 1, "the first has written", timeout_s=60)
            first = yard.instances(job_id)["worker-0"]["task_id"]
            os.kill(parent(int(begun()[0].split()[-1])), signal.SIGKILL)
            await wait_until(lambda: len(begun()) == 2, "the second has written", timeout_s=60)
            assert yard.instances(job_id)["worker-0"]["task_id"] != first
            killed = {name: yard.yard.kill(name) for name in ("trainer", "scheduler")}
            for name, pid in killed.items():
                await asyncio.to_thread(yard.yard.wait_for, name, not_pid=pid)
            (yard.room / "door").touch()
            await asyncio.wait_for(following, 60)
            text = streams(told)
            assert says(text["worker-0", 1])[-1] == "ends" and len(begun()) == 3
            assert says(text["worker-0", 2]) == ["err", "err"]
            again = [chunk async for chunk in client.jobs.logs(job_id, "worker", 0)]
            assert streams(again) == text
            assert sorted({chunk.epoch for chunk in again}) == [1, 2]

    asyncio.run(check())
    yard.until(job_id, "SUCCEEDED")
