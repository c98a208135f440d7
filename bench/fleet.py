"""A thousand simulated agents on one real scheduler: real streams, a hello each, a beat every two seconds."""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.figures import Figure
from bench.restart import Scheduler
from bench.yard import free_port_base
from modelyard.channel import connect
from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1 import agent_link_pb2_grpc, node_pb2

AGENTS = 1_000
BEAT_S = 2.0
WARM_UP_S = 15.0
MEASURED_S = 20.0
RUNS = 3


async def agent(channel: "object", name: str, token: str, delay_s: float) -> None:
    """One agent: joined, connected, beating."""
    await asyncio.sleep(delay_s)
    stub = agent_link_pb2_grpc.AgentLinkServiceStub(channel)  # type: ignore[arg-type]
    joined = await stub.Join(pb.JoinRequest(join_token=token, node=name))
    call = stub.Connect(metadata=(("authorization", f"Bearer {joined.credentials.token}"),))
    capacity = node_pb2.NodeCapacity(cpu=8, memory_bytes=1 << 34)
    hello = pb.Hello(node=name, boot_id="b", incarnation=1, protocol_version=1, capacity=capacity)
    await call.write(pb.ConnectRequest(hello=hello))
    reader = asyncio.create_task(_drain(call))
    number = 0
    while not reader.done():
        number += 1
        windows = [
            node_pb2.WindowUsage(window_s=s, cpu=number % 8, memory_bytes=1 << 30) for s in (1, 10, 60)
        ]
        await call.write(pb.ConnectRequest(beat=pb.Beat(number=number, windows=windows)))
        await asyncio.sleep(BEAT_S)


async def _drain(call: "object") -> None:
    async for _ in call:  # type: ignore[attr-defined]
        pass


async def fleet(address: str, token: str) -> None:
    """All agents on a few channels, for ever."""
    channels = [connect(address) for _ in range(10)]
    async with asyncio.TaskGroup() as group:
        for i in range(AGENTS):
            group.create_task(agent(channels[i % 10], f"sim-{i}", token, i * 5.0 / AGENTS))


def core_share(seconds: float, process: psutil.Process) -> float:
    """Percent of a core that a process uses."""
    before, begun = sum(process.cpu_times()[:2]), time.perf_counter()
    time.sleep(seconds)
    return (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - begun) * 100


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as folder:
        scheduler = Scheduler(Path(folder), free_port_base())
        scheduler.wait_ready()
        token = (Path(folder) / "secrets" / "join.token").read_text().strip()
        command = [sys.executable, "-m", "bench.fleet", f"127.0.0.1:{scheduler.port}", token]
        crowd = subprocess.Popen(command)
        try:
            time.sleep(WARM_UP_S)
            process = psutil.Process(scheduler.process.pid)
            shares = tuple(core_share(MEASURED_S, process) for _ in range(RUNS))
            memory_mb = process.memory_info().rss / 1e6
        finally:
            crowd.kill()
            crowd.wait()
            scheduler.kill()
    note = f"scheduler RSS {memory_mb:.0f} MB"
    return [Figure("1,000 simulated agents, beats every 2 s", "% of a core", shares, "≤ 15", note)]


if __name__ == "__main__":
    asyncio.run(fleet(sys.argv[1], sys.argv[2]))
