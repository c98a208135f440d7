"""A whole yard under a mixed load while everything in it fails, a backup of it meanwhile, and a yard made of that."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.elsewhere import Backup, back_up, restored
from tests.chaos.faults import Faults, Keeper, Lines
from tests.chaos.load import Mixed
from tests.support.processes import Processes
from tests.support.yard import Yard, new_yard

AFTERWARDS_S = 240.0
"""In which everything that was asked for has to end."""
KINDS = ("tasks", "tasks at most once", "runs", "jobs", "model calls")


@dataclass
class Told:
    """What happened, and what of it was not as promised."""

    rows: list[tuple[str, int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    took_s: float = 0.0


async def tell(seconds: float, seed: int) -> Told:
    """The whole story. A backup is taken at half of it, and restored elsewhere when the yard is at rest."""
    dice, told, begun = random.Random(seed), Told(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="yard-chaos-") as folder, new_yard(is_up=False, agents=2) as yard:
        room, lines = Path(folder), Lines(yard)
        await lines.start()
        processes = await asyncio.to_thread(Processes, yard, trainer=True, models=True, more=lines.options())
        keeper = Keeper(processes)
        try:
            async with yard.client() as client:
                load = Mixed(client, room, dice)
                await load.prepare(room)
                keeper.start()
                faults = Faults(processes, lines, dice)
                saving = asyncio.ensure_future(_save(yard, load, room, seconds / 2))
                told.wrong += await _storm(load, faults, seconds) or await load.check()
                backup = await saving
                await load.end()
                told.wrong += await _left_over(yard)
        finally:
            await keeper.stop()
            await asyncio.to_thread(processes.stop)
            await lines.stop()
        if not told.wrong:
            await asyncio.to_thread(yard.end_all)
            told.wrong += await restored(yard, backup, load, room)
    told.rows = _rows(load, faults, backup)
    told.took_s = time.monotonic() - begun
    return told


async def _save(yard: Yard, load: Mixed, room: Path, after_s: float) -> Backup:
    await asyncio.sleep(after_s)
    return await back_up(yard, load, room / "yard.tar.gz")


async def _storm(load: Mixed, faults: Faults, seconds: float) -> list[str]:
    """Faults while the load goes on; then all of it has to end. What still waits, or has failed."""
    over = asyncio.Event()
    twice = [load.task, load.once, load.run_of_canvas, load.job]
    kinds = [*twice, *twice, load.model_call, load.change_of_deployment]
    clients = [asyncio.ensure_future(load.run(kind, over)) for kind in kinds]
    await faults.run(seconds)
    over.set()
    done, late = await asyncio.wait(clients, timeout=AFTERWARDS_S)
    for one in late:
        one.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    waiting = [f"{kinds[clients.index(one)].__name__} still waits" for one in late]
    return waiting + [repr(one.exception()) for one in done if one.exception() is not None]


async def _left_over(yard: Yard) -> list[str]:
    """Nothing of what has ended is there 10 s later."""
    for _ in range(20):
        found = yard.task_leavings()
        if not found:
            return []
        await asyncio.sleep(0.5)
    return found


def _rows(load: Mixed, faults: Faults, backup: Backup) -> list[tuple[str, int]]:
    counted, known = load.counted, backup.known
    rows = sorted(faults.done.items())
    rows += [(f"{kind} ended", counted[kind]) for kind in KINDS]
    rows.append(
        ("of those at most once, lost with a node and not begun again", counted["at most once, lost"])
    )
    rows.append(("deployments changed and taken back", counted["deployments changed and taken back"]))
    told = sum(count for kind, count in counted.items() if kind.startswith("told"))
    rows.append(("answers that said to ask again", told))
    acknowledged = len(known.tasks) + len(known.once) + len(known.runs) + len(known.jobs)
    rows.append(("acknowledged before a backup, and found and ended where it was restored", acknowledged))
    return rows
