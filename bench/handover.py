"""1 GiB from node to node of a graph: how long it takes, what is written for it, what memory the services need.

One node writes a file, two others read it as a file: one on the same agent, one on another agent of the same machine.
Both are told the inode, so it is seen whether anything was copied on the way.
"""

import asyncio
import contextlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench.figures import Figure
from bench.graph_runs import graph_service
from bench.yard import Yard, running_yard
from modelyard.bundle import pack_directory
from modelyard.client import Client
from modelyard.v1 import run_pb2

SIZE_MIB = 1024
SERVICES = ("graph", "scheduler", "store", "agent")
CODE = """
import os
import time
from pathlib import Path
from modelyard import Context, File, Input, operator

@operator(outputs={"file": "file", "facts": "json"})
def write(ctx: Context, mib: int) -> dict:
    path, block = ctx.directory / "large.bin", os.urandom(1 << 20)
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(block)
    return {"file": File(path), "facts": {"inode": path.stat().st_ino, "end_s": time.time()}}

def read(data: Input[Path], facts: Input[dict]) -> dict:
    begin_s, count = time.time(), 0
    with data.open("rb", buffering=0) as file:
        while block := file.read(1 << 20):
            count += len(block)
    return {"inode": data.stat().st_ino, "bytes": count, "begin_s": begin_s}
"""


def canvas(bundle: str, mib: int) -> str:
    def node(name: str, function: str, agent: str, **params: Any) -> dict[str, Any]:
        return {
            "id": name, "operator": f"bench_handover:{function}", "bundle_digest": bundle, "cache": "off",
            "placement": {"node": agent}, "initial_params": params, "record": name == "write",
        }  # fmt: skip

    nodes = [
        node("write", "write", "node-1", mib=mib), node("same", "read", "node-1"), node("other", "read", "node-2")
    ]  # fmt: skip
    edges = [
        {
            "id": f"{name}-{port}",
            "source": "write",
            "source_port": port,
            "target": name,
            "target_port": target,
        }
        for name in ("same", "other")
        for port, target in (("file", "data"), ("facts", "facts"))
    ]
    return json.dumps({"format": "canvas/1", "nodes": nodes, "edges": edges})


class Watched:
    """The yard's processes: their memory from now on, and what all of them write."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._services: dict[str, list[psutil.Process]] = {name: [] for name in SERVICES}
        for process in _processes(yard):
            for name in SERVICES:
                if f"services.{name} " in f"{' '.join(process.cmdline())} ":
                    self._services[name].append(process)
        self._rss = {p.pid: p.memory_info().rss for found in self._services.values() for p in found}
        for pid in self._rss:
            # From here on the kernel's peak is that of what follows.
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._written = self._write_bytes()

    def grown_mib(self, name: str) -> float:
        """By how much a service's memory grew at most; of several processes the most."""
        return max((_peak_bytes(p.pid) - self._rss[p.pid]) / (1 << 20) for p in self._services[name])

    def written_gib(self) -> float:
        return (self._write_bytes() - self._written) / (1 << 30)

    def _write_bytes(self) -> int:
        total = 0
        for process in _processes(self._yard):
            with contextlib.suppress(psutil.Error):
                total += process.io_counters().write_bytes
        return total


def _processes(yard: Yard) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        words = " ".join(process.info["cmdline"] or ())
        if str(yard.state) in words:
            found.append(process)
    return found


def _peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024


def on_disk_gib(yard: Yard) -> float:
    """What the large files in the state directory take, each inode once."""
    sizes = {}
    for path in yard.state.rglob("*"):
        with contextlib.suppress(OSError):
            found = path.lstat()
            if found.st_size >= 1 << 28:
                sizes[found.st_ino] = found.st_size
    return sum(sizes.values()) / (1 << 30)


async def _measure(yard: Yard, mib: int) -> list[Figure]:
    async with Client(state=yard.state) as client:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "bench_handover.py").write_text(CODE)
            archive, bundle = pack_directory(Path(folder))
            await client.artifacts.put(archive)
            archive.unlink()
        project = (await client.projects.create("handover")).id
        answer = await client.projects.save(project, canvas(bundle, mib))
        if answer.problems:
            raise RuntimeError(answer.problems[0].message)
        watched = Watched(yard)
        begun = time.perf_counter()
        run = await client.runs.wait((await client.runs.start(project)).id)
        took_s = time.perf_counter() - begun
        written_gib, kept_gib = watched.written_gib(), on_disk_gib(yard)
        if run.state != run_pb2.RUN_STATE_SUCCEEDED:
            raise RuntimeError(f"the run did not succeed: {run.error.message}")
        facts = await _facts(client, run.id)
    waits = tuple(facts[name]["begin_s"] - facts["write"]["end_s"] for name in ("same", "other"))
    copies = len({fact["inode"] for fact in facts.values()}) - 1
    return [
        Figure("1 GiB between nodes: the whole run, one writes, two read", "s", (took_s,)),
        Figure("1 GiB between nodes: written → read by the next node", "s", waits, note="same, other agent"),
        Figure("1 GiB between nodes: copies that the next nodes got", "", (copies,), "0"),
        Figure("1 GiB between nodes: written by all processes", "GiB", (written_gib,), "2"),
        Figure("1 GiB between nodes: on disk afterwards", "GiB", (kept_gib,), "2", "the file and the store's"),
        *(
            Figure(
                f"1 GiB between nodes: growth of the {name}'s memory", "MiB", (watched.grown_mib(name),),
                "< 50" if name in ("graph", "scheduler") else "",
            )
            for name in SERVICES
        ),
    ]  # fmt: skip


async def _facts(client: Client, run_id: str) -> dict[str, Any]:
    """What each node said of the file."""
    facts = {}
    for name in ("write", "same", "other"):
        node = await client.runs.result(run_id, name)
        values = [json.loads(output.value_json) for output in node.outputs if output.value_json]
        facts[name] = values[0]
    return facts


def measure(mib: int = SIZE_MIB) -> list[Figure]:
    with running_yard("--agents", "2") as yard, graph_service(yard):
        return asyncio.run(_measure(yard, mib))
