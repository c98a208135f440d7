"""`python -m tests.soak --seconds 3600`: a whole yard under a light load, measured all the while; nothing may grow.

Ended work is kept for minutes here, so that the tables that retention rules come to rest within the hour; what is kept
for longer is told apart. Exit code 1: something grew, or an answer was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.soak.load import Light
from tests.soak.sampling import Sample, sample
from tests.soak.verdict import judge, table
from tests.support.processes import Processes
from tests.support.yard import Yard, new_yard

EVERY_S = 20.0
KEEP_DAYS = 5 / (24 * 60)
_KEEP = ("--keep-ended-days", f"{KEEP_DAYS:.5f}")


async def tell(seconds: float, every_s: float, samples_file: Path | None) -> int:
    """The whole story; 0: nothing grew."""
    more = {"scheduler": _KEEP, "graph": _KEEP, "trainer": _KEEP, "store": ("--collect-grace-s", "300")}
    with tempfile.TemporaryDirectory(prefix="yard-soak-") as folder, new_yard(is_up=False, agents=2) as yard:
        processes = await asyncio.to_thread(Processes, yard, trainer=True, models=True, more=more)
        try:
            async with yard.client() as client:
                load = Light(client, Path(folder), random.Random(20))
                await load.prepare()
                over = asyncio.Event()
                work = asyncio.ensure_future(load.run(over))
                samples = await _measure(yard, processes, load, seconds, every_s, samples_file)
                over.set()
                await work
        finally:
            await asyncio.to_thread(processes.stop)
    return _verdict(samples, load.done, load.wrong)


async def _measure(
    yard: Yard, processes: Processes, load: Light, seconds: float, every_s: float, file: Path | None
) -> list[tuple[float, Sample]]:
    """A sample from time to time, told as it is taken."""
    samples: list[tuple[float, Sample]] = []
    begun = time.monotonic()
    services: Mapping[str, int] = {name: processes.pid(name) for name in processes.names()}
    while time.monotonic() < begun + seconds:
        await asyncio.sleep(every_s)
        found = await asyncio.to_thread(sample, yard, {**services, "client": os.getpid()})
        samples.append((time.monotonic() - begun, found))
        memory = {
            name: round(found.get(f"memory {name}", 0.0), 1) for name in (*services, "workers", "client")
        }
        print(f"{samples[-1][0]:6.0f} s", memory, dict(load.done), *load.wrong[-1:], flush=True)
        if file is not None:
            with file.open("a") as lines:
                lines.write(json.dumps({"at": samples[-1][0], **found}) + "\n")
        ended = [name for name in services if processes.ended(name) is not None]
        load.wrong += [f"{name} ended by itself" for name in ended]
        if ended:
            break
    return samples


def _verdict(samples: Sequence[tuple[float, Sample]], done: Mapping[str, int], wrong: Sequence[str]) -> int:
    findings = judge(samples)
    print(table(findings), "", f"{samples[-1][0]:.0f} s, {len(samples)} samples; {dict(done)}", sep="\n")
    leaks = [one for one in findings if one.is_leak]
    for one in leaks:
        print(f"grows: {one.name} by {one.growth:.1f}, more than {one.bound:.1f}")
    print(*wrong[:20], sep="\n")
    print(
        "nothing grew" if not leaks else f"{len(leaks)} things grew", f"{len(wrong)} wrong answers", sep="; "
    )
    return 1 if leaks or wrong else 0


def _read(file: Path) -> list[tuple[float, Sample]]:
    """What --samples has written so far."""
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [(one.pop("at"), one) for one in found]


def main() -> int:
    """Told by --seconds and --every; --samples FILE keeps what is measured, --judge FILE only judges such a file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--every", type=float, default=EVERY_S)
    parser.add_argument("--samples", type=Path)
    parser.add_argument("--judge", type=Path)
    asked = parser.parse_args()
    if asked.judge is not None:
        return _verdict(_read(asked.judge), {}, [])
    return asyncio.run(tell(asked.seconds, asked.every, asked.samples))


if __name__ == "__main__":
    sys.exit(main())
