"""How soon a running operator has new parameters or a new attachment: from the request to the worker's word."""

import asyncio
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, percentile
from bench.yard import Yard, running_yard
from modelyard.client import Client
from modelyard.client.specs import operator_spec
from modelyard.v1 import task_pb2 as pb

CHANGES = 300
ATTACHMENTS = 100
RUNS = 3
OPERATOR = """
import time

from modelyard import Context


def hold(ctx: Context, number: int) -> int:
    while ctx.params["number"] >= 0:
        time.sleep(0.005)
    return number
"""


async def _start(client: Client, folder: Path) -> str:
    (folder / "holding.py").write_text(OPERATOR)
    spec = operator_spec("holding:hold")
    spec.params_json = '{"number": 0}'
    await client.attach(spec, directory=folder)
    begin = (await client.tasks.list()).revision
    (task_id,) = await client.tasks.submit(spec)
    async for task in client.tasks.watch(task_id, revision=begin):
        if task.state == pb.TASK_STATE_RUNNING:
            break
    return task_id


def _applied(answer: pb.ModifyTaskResponse) -> None:
    if any(verdict.kind != pb.FIELD_VERDICT_KIND_APPLIED for verdict in answer.verdicts):
        raise RuntimeError(f"not applied: {answer.verdicts}")


async def _params(client: Client, task_id: str) -> list[float]:
    """Milliseconds of each change, one after the other."""
    times = []
    for number in range(CHANGES):
        begun = time.perf_counter()
        _applied(await client.tasks.modify(task_id, params={"number": number}))
        times.append((time.perf_counter() - begun) * 1000)
    return times


async def _attachments(client: Client, task_id: str) -> list[float]:
    """The same with a file of 1 kB each that the store has and the machine has not."""
    times = []
    for number in range(ATTACHMENTS):
        digest = (await client.artifacts.put(number.to_bytes(1024, "big"), name="a.bin")).digest
        attachment = pb.Attachment(path="a.bin", digest=digest)
        begun = time.perf_counter()
        _applied(await client.tasks.modify(task_id, attachments=[attachment]))
        times.append((time.perf_counter() - begun) * 1000)
    return times


async def _measure(yard: Yard) -> list[Figure]:
    figures = []
    async with Client(state=yard.state) as client:
        with tempfile.TemporaryDirectory() as folder:
            task_id = await _start(client, Path(folder))
        for name, change, goal in (
            ("parameters of a running operator", _params, "≤ 20"),
            ("a new file of 1 kB attached to it", _attachments, ""),
        ):
            await change(client, task_id)
            runs = [await change(client, task_id) for _ in range(RUNS)]
            for share, goal_here in ((0.5, ""), (0.95, goal)):
                values = tuple(percentile(times, share) for times in runs)
                figures.append(
                    Figure(f"modify → applied, {name}, p{share * 100:.0f}", "ms", values, goal_here)
                )
        await client.tasks.modify(task_id, params={"number": -1})
        await client.outcome(task_id)
    return figures


def measure() -> list[Figure]:
    with running_yard() as yard:
        return asyncio.run(_measure(yard))
