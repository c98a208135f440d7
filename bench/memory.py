"""What waiting tasks cost a real scheduler in memory: resident set before and after, tables and caches included."""

import asyncio
import tempfile
from pathlib import Path

import psutil

from bench.figures import Figure
from bench.restart import Scheduler
from bench.yard import free_port_base
from modelyard.channel import connect
from modelyard.v1 import task_pb2 as pb
from modelyard.v1 import task_pb2_grpc

TASKS = 200_000
BATCH = 10_000
ELEMENTS = 1_000_000


async def _submit(scheduler: Scheduler, requests: list[pb.SubmitTasksRequest]) -> None:
    async with connect(f"127.0.0.1:{scheduler.port}", token=scheduler.token()) as channel:
        stub = task_pb2_grpc.TaskServiceStub(channel)
        for request in requests:
            await stub.SubmitTasks(request)


def _grown_bytes(scheduler: Scheduler, requests: list[pb.SubmitTasksRequest]) -> float:
    """By how much the process grew."""
    process = psutil.Process(scheduler.process.pid)
    before = process.memory_info().rss
    asyncio.run(_submit(scheduler, requests))
    return process.memory_info().rss - before


def _batch(first: int) -> pb.SubmitTasksRequest:
    """Tasks that differ in their parameters, as a sweep's do."""
    request = pb.SubmitTasksRequest(specs=[pb.TaskSpec(command=pb.CommandWork(argv=["true"]))])
    request.items.extend(pb.TaskItem(params_json=f'{{"seed": {first + i}}}') for i in range(BATCH))
    return request


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as folder:
        scheduler = Scheduler(Path(folder), free_port_base())
        scheduler.wait_ready()
        try:
            # Buffers and statements that the first submissions make are not the tasks'.
            _grown_bytes(scheduler, [_batch(0)])
            array = pb.TaskSpec(command=pb.CommandWork(argv=["true"]), array_size=ELEMENTS)
            array_mib = _grown_bytes(scheduler, [pb.SubmitTasksRequest(specs=[array])]) / (1 << 20)
            batches = [_batch(first) for first in range(BATCH, TASKS + BATCH, BATCH)]
            task_kib = _grown_bytes(scheduler, batches) / TASKS / 1024
        finally:
            scheduler.kill()
    return [
        Figure("a waiting task, of 200,000 that differ in parameters", "KiB", (task_kib,), "≤ 1.5"),
        Figure("an array of 1,000,000 waiting elements", "MiB", (max(array_mib, 0.0),), "≤ 5"),
    ]
