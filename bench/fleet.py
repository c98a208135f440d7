"""Simulated agents on one real scheduler: real streams, a hello each, then beats at the pace that is asked for."""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc.aio
import psutil

from bench.figures import Figure
from bench.restart import Scheduler
from bench.yard import free_port_base
from modelyard.channel import connect
from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1 import agent_link_pb2_grpc, node_pb2, node_pb2_grpc

# Agents, seconds over which they come, seconds after that before anything is measured, goal.
FLEETS = ((1_000, 5.0, 10.0, "≤ 15"), (10_000, 60.0, 30.0, "≤ 50"))
# A connection for so many: else the two ends would measure their own sockets.
AGENTS_PER_CHANNEL = 10
MEASURED_S = 20.0
RUNS = 3


class Agent:
    """One agent: joined, connected, beating."""

    def __init__(self, channel: grpc.aio.Channel, name: str) -> None:
        self._stub = agent_link_pb2_grpc.AgentLinkServiceStub(channel)
        self._name = name
        self._beat_s = 2.0

    async def run(self, token: str, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        request = pb.JoinRequest(join_token=token, node=self._name)
        joined = await self._stub.Join(request, timeout=60, wait_for_ready=True)
        call = self._stub.Connect(metadata=(("authorization", f"Bearer {joined.credentials.token}"),))
        capacity = node_pb2.NodeCapacity(cpu=8, memory_bytes=1 << 34)
        hello = pb.Hello(node=self._name, boot_id="b", incarnation=1, protocol_version=1, capacity=capacity)
        await call.write(pb.ConnectRequest(hello=hello))
        reader = asyncio.create_task(self._read(call))
        number = 0
        while not reader.done():
            number += 1
            windows = [
                node_pb2.WindowUsage(window_s=s, cpu=number % 8, memory_bytes=1 << 30) for s in (1, 10, 60)
            ]
            await call.write(pb.ConnectRequest(beat=pb.Beat(number=number, windows=windows)))
            await asyncio.sleep(self._beat_s)

    async def _read(self, call: "object") -> None:
        async for message in call:  # type: ignore[attr-defined]
            if message.HasField("beat_ack"):
                self._beat_s = message.beat_ack.beat_ms / 1000


async def crowd(address: str, token: str, count: int, over_s: float) -> None:
    """All agents, for ever."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    channels = [
        grpc.aio.insecure_channel(address, options=options) for _ in range(-(-count // AGENTS_PER_CHANNEL))
    ]
    async with asyncio.TaskGroup() as group:
        for i in range(count):
            agent = Agent(channels[i % len(channels)], f"sim-{i}")
            group.create_task(agent.run(token, i * over_s / count))


def core_share(seconds: float, process: psutil.Process) -> float:
    """Percent of a core that a process uses."""
    before, begun = sum(process.cpu_times()[:2]), time.perf_counter()
    time.sleep(seconds)
    return (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - begun) * 100


async def _connected(scheduler: Scheduler) -> int:
    """How many nodes take work."""
    async with connect(f"127.0.0.1:{scheduler.port}", token=scheduler.token()) as channel:
        stub = node_pb2_grpc.NodeServiceStub(channel)
        found, page = 0, ""
        while True:
            answer = await stub.ListNodes(node_pb2.ListNodesRequest(page_size=1000, page_token=page))
            found += sum(node.state == node_pb2.NODE_STATE_READY for node in answer.nodes)
            page = answer.next_page_token
            if not page:
                return found


def _fleet(count: int, over_s: float, settle_s: float, goal: str) -> Figure:
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as folder:
        scheduler = Scheduler(Path(folder), free_port_base())
        scheduler.wait_ready()
        token = (Path(folder) / "secrets" / "join.token").read_text().strip()
        command = [sys.executable, "-m", "bench.fleet", f"127.0.0.1:{scheduler.port}", token]
        agents = subprocess.Popen([*command, str(count), str(over_s)])
        try:
            time.sleep(over_s + settle_s)
            process = psutil.Process(scheduler.process.pid)
            shares = tuple(core_share(MEASURED_S, process) for _ in range(RUNS))
            ready = asyncio.run(_connected(scheduler))
            memory_mb = process.memory_info().rss / 1e6
        finally:
            agents.kill()
            agents.wait()
            scheduler.kill()
    note = f"{ready} ready, scheduler RSS {memory_mb:.0f} MB"
    return Figure(f"{count:,} simulated agents", "% of a core", shares, goal, note)


def measure() -> list[Figure]:
    return [_fleet(*fleet) for fleet in FLEETS]


if __name__ == "__main__":
    asyncio.run(crowd(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
