"""A backup that is taken while everything fails, and what must hold in the yard that is made of it elsewhere.

Whatever was acknowledged before the backup began is there and ends; what may be started once and had begun by then does
not begin again; models answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelyard.client.aio import Client
from modelyard.client.outcomes import ENDED as TASK_ENDED
from modelyard.errors import YardError
from modelyard.v1 import job_pb2
from tests.chaos.load import MORE, Acknowledged, Mixed, wrong_runs
from tests.e2e.training_history import ENDED
from tests.support.wait import wait_until
from tests.support.yard import Yard, free_port_base

AGAIN_S = 180.0
"""In which all of it has to end there."""


@dataclass(frozen=True)
class Backup:
    """A file, and what was known before it was begun."""

    file: Path
    known: Acknowledged


async def back_up(yard: Yard, load: Mixed, file: Path) -> Backup:
    """Taken whatever happens to the yard meanwhile; a failure is noted as a broken promise."""
    known = load.acknowledged()
    done = await asyncio.to_thread(yard.cli, "backup", str(file), timeout_s=120)
    if done.code:
        load.wrong.append(f"yard backup: {done.stderr}")
    load.counted["backups"] += 1
    return Backup(file, known)


async def restored(yard: Yard, backup: Backup, load: Mixed, room: Path) -> list[str]:
    """What is not as promised in a yard of another directory, on other ports. The first one is at rest."""
    target = room / "elsewhere"
    done = await asyncio.to_thread(yard.cli, "restore", str(backup.file), "--state", str(target))
    if done.code:
        return [f"yard restore: {done.stderr}"]
    before = load.begun_once()
    with _started(target) as there:
        async with there.client() as client:
            wrong = await _wrong(there, client, backup.known)
    after = load.begun_once()
    return wrong + [
        f"{task} began again elsewhere"
        for task, token in backup.known.once.items()
        if after[token] != before[token]
    ]


@contextmanager
def _started(state: Path) -> Iterator[Yard]:
    yard = Yard(state, free_port_base(), agents=2)
    try:
        up = yard.up("--trainer", "--models")
        assert up.code == 0, f"{up.stderr}\n{yard.logs()}"
        yield yard
    finally:
        yard.down()


async def _wrong(yard: Yard, client: Client, known: Acknowledged) -> list[str]:
    """Everything that was known has to end, and the model to answer."""
    waits = {task_id: _wrong_task(client, task_id) for task_id in (*known.tasks, *known.once)}
    waits |= {job: _wrong_job(client, job) for job in known.jobs}
    waits |= {run: _wrong_run(client, run) for run in known.runs}
    waits["a call of the model"] = _wrong_answer(client)
    tasks = {asyncio.ensure_future(wait): name for name, wait in waits.items()}
    done, late = await asyncio.wait(tasks, timeout=AGAIN_S)
    for one in late:
        one.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    wrong = [f"{tasks[one]} has not ended, {await _why(client, tasks[one])}" for one in late]
    wrong += [text for one in done for text in one.result()]
    return [f"elsewhere: {text}" for text in wrong] + ([yard.logs()] if wrong else [])


async def _why(client: Client, name: str) -> str:
    """What the yard says of something that goes on."""
    try:
        if name.startswith("r-"):
            return f"{list(await client.runs.nodes(name))}"
        if name.startswith("j-"):
            return f"{await client.jobs.explain(name)}"
        return f"{await client.tasks.explain(name)}" if name.startswith("t-") else ""
    except YardError as error:
        return f"{error.code} {error}"


async def _wrong_task(client: Client, task_id: str) -> list[str]:
    ended = await client.tasks.wait(task_id)
    return [] if ended.state in TASK_ENDED else [f"{task_id}: state {ended.state}"]


async def _wrong_run(client: Client, run: str) -> list[str]:
    await client.runs.wait(run)
    return await wrong_runs(client, [run])


async def _wrong_answer(client: Client) -> list[str]:
    await wait_until(lambda: _answers(client), "the model answers", timeout_s=AGAIN_S)
    return []


async def _wrong_job(client: Client, job: str) -> list[str]:
    async for told in client.jobs.watch(job):
        if told.HasField("job") and told.job.state in ENDED:
            break
    found = await client.jobs.get(job)
    if found.state == job_pb2.JOB_STATE_SUCCEEDED:
        return []
    return [f"{job}: {job_pb2.JobState.Name(found.state)} {found.message}"]


async def _answers(client: Client) -> bool:
    """Rightly, by one version or the other; that it cannot yet is told by an error."""
    try:
        answer = await client.models.call("adder", {"x": [1]}, timeout_s=20)
    except YardError:
        return False
    [number] = next(iter(answer.outputs.values())).value
    assert number == 1 + MORE[answer.version]
    return True
