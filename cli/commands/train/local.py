"""`yard train run --local`: a job on this machine, with no yard before and none afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import exit_codes
from cli.errors import CommandError, UsageError
from cli.invocation import Invocation
from cli.options.jobs import stored
from modelyard import settings as yard_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.supervisor.options import Options
    from modelyard.client.aio import Client
    from modelyard.training import Plan
    from modelyard.v1 import job_pb2

AGENTS_MOST = 16
REST_OF_LOGS_S = 10.0
STOP_S = 60.0
"""How long an interrupted job may take to end in its own way."""


def run_local(
    yard: Invocation, text: str, file: str, *, params: Mapping[str, Any], counts: dict[str, int], name: str, dir: str,
    data: Mapping[str, Path | str], into: str,
) -> int:  # fmt: skip
    """Brings up a yard for this job alone, runs it to its end, and takes everything away. Its exit code."""
    from cli.supervisor.throwaway import throwaway_yard

    if dir and not Path(dir).is_dir():
        raise UsageError(f"{dir} is no directory")
    for source in data.values():
        if not isinstance(source, Path):
            raise UsageError(f"--data {source}: with --local no artefacts are kept before",
                             next_step=f"yard artifacts get {source} FILE, then --data FILE")  # fmt: skip
    plan = _planned(yard, text, file, params, counts, name)
    if plan is None:
        return exit_codes.INVALID_SPECIFICATION
    with throwaway_yard(_options(plan)) as state:
        settings = yard_settings.load({"state": str(state)}, {})
        here = Invocation(settings, yard.output, yard.debug)
        request = {"params": params, "counts": counts, "name": name}
        try:
            return asyncio.run(_run(here, plan, text, request, dir, data, Path(into) if into else None))
        except asyncio.CancelledError:
            return exit_codes.TERMINATED


def _planned(
    yard: Invocation, text: str, file: str, params: Mapping[str, Any], counts: dict[str, int], name: str
) -> Plan | None:
    """None: the file is wrong, and that is told; nothing was started."""
    from cli.output.training import write_problems
    from modelyard.training import Changes, Refused, plan_job
    from modelyard.training.frameworks import catalogue
    from modelyard.training_messages import problem_messages

    try:
        return plan_job(
            text, catalogue.find, catalogue.known(), Changes(params=params, counts=counts, name=name)
        )
    except Refused as refused:
        write_problems(problem_messages(refused.problems), file, sys.stderr)
        return None


def _options(plan: Plan) -> Options:
    """Places for everybody at once, also where the machine has fewer cores: nobody else is there to wait for."""
    from cli.supervisor.options import Options

    roles = [role for role in plan.roles if role.count]
    cpu = sum(role.count * role.resources.cpu for role in roles)
    memory = sum(role.count * role.resources.memory_bytes for role in roles)
    apart = sum(role.count for role in roles if role.placement.distinct_nodes) or 1
    if apart > AGENTS_MOST:
        raise CommandError(
            f"{apart} instances want a machine each; here at most {AGENTS_MOST} nodes are made",
            code=exit_codes.CANNOT_BE_PLACED, next_step="--count, or a yard: yard up",
        )  # fmt: skip
    machine = float(len(os.sched_getaffinity(0)))
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    each = max((role.resources.cpu for role in roles), default=1.0)
    return Options(
        agents=apart, cpu=max(machine, cpu, each * apart), memory_bytes=max(there, memory * apart), trainer=True,
        graphs=False,
    )  # fmt: skip


async def _run(
    yard: Invocation,
    plan: Plan,
    text: str,
    request: dict[str, Any],
    dir: str,
    data: Mapping[str, Path | str],
    into: Path | None,
) -> int:
    from cli.output.jobs import JOB_FIELDS, exit_code
    from cli.output.render import show_one

    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    async with yard.client() as client:
        await _furnish(client, plan)
        digest = await client.artifacts.bundle(dir) if dir else ""
        attachments = await stored(client, data)
        job = await client.jobs.create(text, bundle_digest=digest, attachments=attachments, **request)
        if plan.job.suspended:
            yard.say("the file says that it starts suspended; nobody could resume it later, so it starts")
            await client.jobs.resume(job.id)
        job = await _to_the_end(yard, client, job.id, into)
        if into is not None:
            await _fetch(yard, client, await client.jobs.get(job.id), into)
    show_one(yard.output, job, JOB_FIELDS, lambda job: job.id)
    return exit_code(job)


async def _furnish(client: Client, plan: Plan) -> None:
    """The queue and the labels that the file counts on."""
    if plan.job.queue and plan.job.queue != "default":
        await client.queues.add(plan.job.queue)
    labels = {name: value for role in plan.roles for name, value in role.placement.labels}
    if labels:
        for node in (await client.nodes.list()).nodes:
            await client.nodes.label(node.id, labels)


async def _to_the_end(yard: Invocation, client: Client, job_id: str, into: Path | None) -> job_pb2.Job:
    """Tells what becomes of it, and what its instances write."""
    from cli.following.jobs import followed

    logs = asyncio.create_task(_logs(yard, client, job_id, into))
    try:
        # What instances write goes to the terminal, so nothing is drawn there.
        job = await followed(client, job_id, may_draw=False)
        await asyncio.wait_for(asyncio.shield(logs), REST_OF_LOGS_S)
        return job
    except asyncio.CancelledError:
        yard.say("stopping; Ctrl-C again does not wait for the programs")
        await client.jobs.stop(job_id, "interrupted")
        await asyncio.wait_for(asyncio.shield(logs), STOP_S)
        raise
    finally:
        logs.cancel()


async def _logs(yard: Invocation, client: Client, job_id: str, into: Path | None) -> None:
    from cli.output.job_logs import JsonLines, PrefixedLines
    from modelyard.v1 import task_pb2

    lines = JsonLines() if yard.output in ("json", "jsonl") else PrefixedLines()
    with ExitStack() as files:
        opened: dict[str, Any] = {}
        async for chunk in client.jobs.logs(job_id, follow=True, merge=True):
            lines.write(chunk)
            if into is not None:
                stream = "stderr" if chunk.stream == task_pb2.LOG_STREAM_STDERR else "stdout"
                path = into / f"{chunk.role}-{chunk.index}" / stream
                if str(path) not in opened:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    opened[str(path)] = files.enter_context(path.open("wb"))
                opened[str(path)].write(chunk.data)
        lines.finish()


async def _fetch(yard: Invocation, client: Client, job: job_pb2.Job, into: Path) -> None:
    """What instances kept."""
    for output in job.outputs:
        path = into / output.name
        path.parent.mkdir(parents=True, exist_ok=True)
        await client.artifacts.get(output.digest, path)
        yard.say(f"{path} is kept")
