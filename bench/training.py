"""Training jobs from their submission on: how soon processes run and ranks have found each other, dependents start,
peers are stopped. Two ranks of the real PyTorch, beside the same program started by hand and by PyTorch's launcher.

The agents' interpreter is that of `make frameworks`, which is installed if it is not there.
"""

import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from bench.figures import Figure, percentile
from bench.yard import Yard, running_yard
from modelyard.client.aio import Client
from modelyard.client.jobs import ENDED
from modelyard.v1 import job_pb2

ROOT = Path(__file__).parents[1]
TURNS, FEW = 20, 4
RANK = """
import os, time
begun = time.time()
import torch.distributed as dist
dist.init_process_group("gloo")
os.write(1, f"\\nup {begun} {time.time()}\\n".encode())
dist.destroy_process_group()
"""
FORMED = """kind: Job
framework: pytorch-ddp
name: formed
argv: [python, {program}]
resources: {{cpu: 1}}
roles: {{master: {{{more}}}, worker: {{{more}}}}}
"""
# In place of the framework's: the parent has no torch, and every process imports it.
COLD = "imports: [json]"
FOUR = """kind: Job
framework: plain
name: four
argv: [sleep, "0.01"]
resources: {cpu: 0.1}
roles: {worker: {count: 4}}
"""
SERVED = """kind: Framework
id: served
roles:
  server:
    service: {ports: {main: auto}}
    functions:
      ready: {until: listening, port: main}
      status: {endless: true}
  client:
    functions:
      depend: [{role: server}]
job_status: {succeeded: client, failed: "any(server, client)"}
---
kind: Job
framework: served
name: served
resources: {cpu: 0.1}
roles:
  server:
    argv:
      - python
      - -Sc
      - |
        import os, socket, time
        listener = socket.create_server(("", int(os.environ["YARD_PORT_MAIN"])))
        os.write(1, f"up {time.time()}\\n".encode())
        time.sleep(600)
  client: {argv: [date, "+up %s.%N"]}
"""
BROKEN = """kind: Job
framework: plain
name: broken
resources: {cpu: 0.1}
argv: [sh, -c, "[ $YARD_INDEX != 0 ] && exec sleep 600; sleep 0.2; exit 3"]
roles: {worker: {count: 4}}
"""


def measure() -> list[Figure]:
    python = framework_python()
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as folder:
        program = Path(folder, "rank.py")
        program.write_text(RANK, encoding="utf-8")
        with running_yard("--trainer", "--agents", "2", "--cpu", "8", python=python) as yard:
            return asyncio.run(_measure(yard, program, python))


def framework_python() -> Path:
    """The interpreter that has PyTorch."""
    words = [sys.executable, str(ROOT / "tests" / "frameworks" / "environment.py")]
    return Path(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


async def _measure(yard: Yard, program: Path, python: Path) -> list[Figure]:
    first, cold, warm, hand, launcher = [], [], [], [], []
    async with Client(state=yard.state) as client:
        desk = Desk(client)
        await desk.started(FOUR)
        four = [await desk.started(FOUR) for _ in range(TURNS)]
        dependents = [await desk.dependent() for _ in range(TURNS)]
        stops = [await desk.stopped() for _ in range(TURNS)]
        first.append(await desk.formed(FORMED.format(program=program, more="")))
        for _ in range(FEW):
            cold.append(await desk.formed(FORMED.format(program=program, more=COLD)))
            warm.append(await desk.formed(FORMED.format(program=program, more="")))
            hand.append(by_hand(python, program))
            launcher.append(by_torchrun(python, program))
    formed = "two ranks of PyTorch over gloo, both past init_process_group"
    return [
        Figure(
            "submit a job of 4 → all 4 processes started",
            "ms",
            tuple(four),
            note=f"p95 {percentile(four, 0.95):.0f} ms, goal 300",
        ),
        Figure("a port listens → its dependent has started", "ms", tuple(dependents), "≤ 100"),
        Figure("a rank ends with a fatal exit → its 3 peers have ended", "ms", tuple(stops), "≤ 500"),
        Figure(f"{formed}: started by hand", "s", tuple(hand)),
        Figure("the same by torchrun", "s", tuple(launcher)),
        Figure(
            "the same as a job, each importing torch by itself, from its submission",
            "s",
            tuple(cold),
            "≤ 1.6",
        ),
        Figure("the same, the first of a new yard: its warm parents import torch", "s", tuple(first)),
        Figure("the same, forked from warm parents", "s", tuple(warm), "≤ 0.3"),
    ]


class Desk:
    """Jobs with a clock. All times are those of one machine."""

    def __init__(self, client: Client) -> None:
        self._jobs = client.jobs

    async def started(self, text: str) -> float:
        """Milliseconds until the last process of all has been started."""
        begun = time.time()
        instances = await self._ended(text)
        return 1000 * (max(_seconds(one.start_time) for one in instances) - begun)

    async def formed(self, text: str) -> float:
        """Seconds until the last rank says that it is past the rendezvous."""
        begun = time.time()
        instances = await self._ended(text)
        return max(_said(one)[-1] for one in instances) - begun

    async def dependent(self) -> float:
        """Milliseconds from what a server says once it listens to what its client says first."""
        said = {one.role: _said(one)[0] for one in await self._ended(SERVED)}
        return 1000 * (said["client"] - said["server"])

    async def stopped(self) -> float:
        """Milliseconds from the end of the one that fails to the end of the last of the others."""
        ends = {one.index: _seconds(one.exit.end_time) for one in await self._ended(BROKEN)}
        return 1000 * (max(ends.values()) - ends[0])

    async def _ended(self, text: str) -> Sequence[job_pb2.Instance]:
        job = await self._jobs.create(text)
        async for response in self._jobs.watch(job.id):
            if response.job.state in ENDED:
                break
        return await self._jobs.instances(job.id)


def _seconds(moment: Timestamp) -> float:
    return moment.ToMilliseconds() / 1000


def _said(instance: job_pb2.Instance) -> list[float]:
    found = re.search(r"up ([0-9. ]+)", "\n".join(instance.exit.last_lines))
    if found is None:
        raise RuntimeError(f"{instance.role}-{instance.index} has not said when it was up: {instance.exit}")
    return [float(word) for word in found[1].split()]


def by_hand(python: Path, program: Path) -> float:
    """Seconds until both are past the rendezvous whom one has started side by side."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": "2"}
    return _until_up([([str(python), str(program)], {**place, "RANK": str(rank)}) for rank in range(2)])


def by_torchrun(python: Path, program: Path) -> float:
    """The same by PyTorch's launcher."""
    words = [str(python), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(program)]
    return _until_up([(words, {})])


def _until_up(processes: Sequence[tuple[list[str], dict[str, str]]]) -> float:
    base = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as out:
        begun = time.time()
        started = [subprocess.Popen(words, env={**base, **env}, stdout=out) for words, env in processes]
        for process in started:
            if process.wait(120):
                raise RuntimeError(f"it ended with {process.returncode}")
        out.seek(0)
        said = out.read()
        moments = [float(moment) for moment in re.findall(r"^up \S+ ([0-9.]+)$", said, re.MULTILINE)]
        if len(moments) != 2:
            raise RuntimeError(f"both ranks say when they were up, not: {said}")
        return max(moments) - begun


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
