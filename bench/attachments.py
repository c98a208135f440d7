"""A large attachment: how fast it travels, and that nobody holds it in memory: client, store and agent are measured."""

import asyncio
import os
import resource
import tempfile
import time
from pathlib import Path

import psutil

from bench.figures import Figure
from bench.yard import Yard, running_yard
from modelyard.client import Client
from modelyard.client.specs import command_spec

SIZE_BYTES = 1 << 30


def _peaks(yard: Yard) -> dict[str, float]:
    """The most memory that each service has held, in MB."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        for service in ("store", "agent"):
            if str(yard.state) in words and f"services.{service}" in words:
                status = Path(f"/proc/{process.pid}/status").read_text()
                line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
                found[service] = max(found.get(service, 0.0), int(line.split()[1]) / 1024)
    return found


async def _measure(yard: Yard) -> list[Figure]:
    before = _peaks(yard)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.bin"
        with path.open("wb") as file:
            for _ in range(SIZE_BYTES >> 20):
                file.write(os.urandom(1 << 20))
        async with Client(state=yard.state) as client:
            begun = time.perf_counter()
            spec = command_spec(["cmp", str(path), "large.bin"])
            await client.attach(spec, attachments={"large.bin": path})
            sent = time.perf_counter()
            (task_id,) = await client.tasks.submit(spec)
            outcome = await client.outcome(task_id)
            done = time.perf_counter()
            if outcome.error.cause:
                raise RuntimeError(outcome.error.message)
            again = time.perf_counter()
            await client.attach(command_spec(["true"]), attachments={"large.bin": path})
            known = time.perf_counter() - again
    after = _peaks(yard)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - own
    mib = SIZE_BYTES / (1 << 20)
    return [
        Figure("1 GiB attached: client → store, digest included", "MiB/s", (mib / (sent - begun),)),
        Figure("1 GiB attached: submission → compared by its task", "s", (done - sent,)),
        Figure("1 GiB attached again: its digest, nothing sent", "s", (known,)),
        *(
            Figure(f"1 GiB attached: growth of the {name}'s peak memory", "MiB", (grown,), "≤ 64")
            for name, grown in (
                ("client", own),
                ("store", after["store"] - before["store"]),
                ("agent", after["agent"] - before["agent"]),
            )
        ),
    ]


def measure() -> list[Figure]:
    with running_yard("--agents", "1") as yard:
        return asyncio.run(_measure(yard))
