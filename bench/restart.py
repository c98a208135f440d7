"""A scheduler that starts with 100,000 unfinished tasks in its database."""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure
from bench.yard import free_port_base
from modelyard.channel import connect
from modelyard.v1 import task_pb2 as pb
from modelyard.v1 import task_pb2_grpc

TASKS = 100_000
BATCH = 10_000
RUNS = 3


class Scheduler:
    """A scheduler process on a state directory."""

    def __init__(self, state: Path, port: int) -> None:
        self.state = state
        self.port = port
        command = [sys.executable, "-m", "services.scheduler", "--state", str(state), "--port", str(port)]
        command += ["--store", f"127.0.0.1:{port + 1}", "--log-level", "error"]
        self.process = subprocess.Popen(command)

    def wait_ready(self) -> None:
        """Until it serves."""
        ready = self.state / "run" / "scheduler.json"
        while not (ready.exists() and json.loads(ready.read_text())["pid"] == self.process.pid):
            if self.process.poll() is not None:
                raise RuntimeError("the scheduler ended")
            time.sleep(0.005)

    def token(self) -> str:
        return (self.state / "secrets" / "admin.token").read_text().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


async def _fill(scheduler: Scheduler) -> None:
    async with connect(f"127.0.0.1:{scheduler.port}", token=scheduler.token()) as channel:
        stub = task_pb2_grpc.TaskServiceStub(channel)
        request = pb.SubmitTasksRequest(specs=[pb.TaskSpec(command=pb.CommandWork(argv=["true"]))])
        request.items.extend(pb.TaskItem() for _ in range(BATCH))
        for _ in range(TASKS // BATCH):
            await stub.SubmitTasks(request)


async def _count(scheduler: Scheduler) -> int:
    """Answers once it really serves: a page of the tasks."""
    async with connect(f"127.0.0.1:{scheduler.port}", token=scheduler.token()) as channel:
        response = await task_pb2_grpc.TaskServiceStub(channel).ListTasks(pb.ListTasksRequest(page_size=1))
        return len(response.tasks)


def measure() -> list[Figure]:
    times = []
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as folder:
        port = free_port_base()
        scheduler = Scheduler(Path(folder), port)
        scheduler.wait_ready()
        asyncio.run(_fill(scheduler))
        for _ in range(RUNS):
            scheduler.kill()
            begun = time.perf_counter()
            scheduler = Scheduler(Path(folder), port)
            scheduler.wait_ready()
            if asyncio.run(_count(scheduler)) != 1:
                raise RuntimeError("the tasks are gone")
            times.append(time.perf_counter() - begun)
        scheduler.kill()
    return [Figure("scheduler restart with 100,000 live tasks → serving", "s", tuple(times), "≤ 2")]
