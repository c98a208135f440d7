"""Submitting an array of a million elements to a real scheduler, and what it writes for it."""

import asyncio
import sqlite3
import time

from bench.figures import Figure
from bench.yard import Yard, running_yard
from modelyard.client import Client
from modelyard.v1 import task_pb2 as pb

ELEMENTS = 1_000_000
RUNS = 5


def _rows(yard: Yard) -> int:
    with sqlite3.connect(f"file:{yard.state}/scheduler/scheduler.db?mode=ro", uri=True) as database:
        return int(
            database.execute("SELECT (SELECT count(*) FROM task) + (SELECT count(*) FROM change)").fetchone()[
                0
            ]
        )


async def _measure(yard: Yard) -> list[Figure]:
    times, rows = [], []
    async with Client(state=yard.state) as client:
        await client.call("echo", value=1)
        for _ in range(RUNS):
            spec = pb.TaskSpec(operator=pb.OperatorWork(operator="echo"), params_json='{"value":1}')
            spec.array_size, spec.hold = ELEMENTS, True
            before = _rows(yard)
            begun = time.perf_counter()
            (task_id,) = await client.tasks.submit(spec)
            times.append((time.perf_counter() - begun) * 1e3)
            rows.append(float(_rows(yard) - before))
            await client.tasks.cancel(task_id)
    return [
        Figure("array of 1,000,000 elements: submit", "ms", tuple(times), "≤ 50"),
        Figure("rows that it writes", "rows", tuple(rows), "O(1)"),
    ]


def measure() -> list[Figure]:
    with running_yard() as yard:
        return asyncio.run(_measure(yard))
