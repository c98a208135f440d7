"""Commands as processes: ten thousand times ``true``."""

import asyncio
import time

from bench.figures import Figure
from bench.yard import Yard, running_yard
from modelyard.client import Client
from modelyard.v1 import task_pb2 as pb
from modelyard.v1 import task_pb2_grpc

COMMANDS = 10_000
RUNS = 3


async def commands_per_s(client: Client, count: int) -> float:
    """Processes a second, from submission to the last outcome; each must have succeeded."""
    submit = pb.SubmitTasksRequest(specs=[pb.TaskSpec(command=pb.CommandWork(argv=["true"]))])
    submit.items.extend(pb.TaskItem() for _ in range(count))
    session = task_pb2_grpc.TaskServiceStub(client.connection.scheduler()).Session()
    begun = time.perf_counter()
    await session.write(pb.SessionRequest(sequence=1, submit=submit))
    missing = count
    async for response in session:
        for outcome in response.outcomes.outcomes:
            if outcome.state != pb.TASK_STATE_SUCCEEDED:
                raise RuntimeError(f"{outcome.task_id} did not succeed: {outcome.error.message}")
            missing -= 1
        if not missing:
            break
    elapsed = time.perf_counter() - begun
    session.cancel()
    return count / elapsed


async def _measure(yard: Yard) -> list[Figure]:
    async with Client(state=yard.state) as client:
        await commands_per_s(client, 1_000)
        rates = [await commands_per_s(client, COMMANDS) for _ in range(RUNS)]
    return [Figure("10,000 × `true` as a process, 2 slots", "tasks/s", tuple(rates), "≥ 400")]


def measure() -> list[Figure]:
    with running_yard() as yard:
        return asyncio.run(_measure(yard))
