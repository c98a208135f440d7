"""Training jobs as nodes of a graph: the job runs in the trainer, the operator waits for it (S1.3, S3.3).

What calls services imports them when it is called.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modelyard.catalog.job_lines import JobLines
from modelyard.catalog.services import NOTHING, request_id_of, yard_of
from modelyard.context import Context
from modelyard.operator.declaration import operator
from modelyard.operator.failure import OperatorFailed
from modelyard.operator.ports import File, Input

if TYPE_CHECKING:
    from modelyard.client import Client
    from modelyard.v1.job_pb2 import Job
    from modelyard.v1.task_pb2 import Attachment


METRICS_MOST = 3
WORDS_MOST = 200


class JobFailed(OperatorFailed):
    """The job has ended, and not with success."""


class _Request(NamedTuple):
    """What the job is made of."""

    text: str
    params: dict[str, Any] | None
    name: str
    bundle: str
    attachments: "list[Attachment]"


@operator(name="train.run", version="1", outputs={"job": "json", "file": "file"}, has_effects=True)
async def run_job(
    ctx: Context,
    job: str,
    params: dict[str, Any] | None = None,
    name: str = "",
    keep: str = "",
    bundle: str = "",
    data: Input[Path] = NOTHING,
    data_name: str = "data",
) -> dict[str, Any]:
    """Runs a training job and waits for its end: ``job`` is the job file's text, ``params`` go over its own.

    ``bundle`` is the digest of the directory that every instance gets a copy of, and ``data`` a file that lies in it
    as ``data_name``. Gives what is known of the job as ``job`` (id, state, outputs with their digests), and as
    ``file`` the kept output that ``keep`` names ("master-0/model.json"). A cancelled task stops its job. An attempt
    that follows a lost one goes on with the job of that one; one that follows a failed job begins another, and so does
    one whose job succeeded and lost with a node what it was to keep.
    """
    async with yard_of(ctx) as yard:
        request = _Request(job, params, name, bundle, await _attached(yard, data, data_name))
        made = await _job_of(ctx, yard, request)
        ended = await _succeeded(ctx, yard, made)
        while keep and await _has_lost(yard, ended, keep):
            made = await _created(ctx, yard, request, f"after {ended.id}")
            ended = await _succeeded(ctx, yard, made)
        return {"job": _told(ended), "file": await _kept(ctx, yard, ended, keep)}


async def _succeeded(ctx: Context, yard: "Client", made: "Job") -> "Job":
    """The job at its end; one that goes on is stopped with the task. Raises JobFailed."""
    try:
        async with JobLines(yard, made.id) as lines:
            ended, failed = await _followed(ctx, yard, made)
            await lines.finish()
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await asyncio.shield(yard.jobs.stop(made.id, f"task {ctx.task_id} was cancelled"))
        raise
    state = _state(ended)
    if state != "succeeded":
        why = _why(ended, failed, lines)
        raise JobFailed(f"{made.id} {state}: {why}", f"yard train why {made.id}; yard train logs {made.id}")
    return ended


async def _has_lost(yard: "Client", job: "Job", keep: str) -> bool:
    """Whether it has not what is asked for because a node was lost after its program had succeeded."""
    if keep in {one.name for one in job.outputs}:
        return False
    found = await yard.jobs.instances(job.id)
    return any(keep.startswith(f"{one.role}-{one.index}/") and one.reason == "OUTPUTS_LOST" for one in found)


async def _attached(yard: "Client", data: Path, name: str) -> "list[Attachment]":
    """The data as an artefact of its own: what was trained with it is known by it."""
    if data == NOTHING:
        return []
    kept = await yard.artifacts.put(data, name=Path(name).name)
    return [await yard.artifacts.attachment(f"sha256:{kept.digest}", Path(name).name)]


async def _job_of(ctx: Context, yard: "Client", request: _Request) -> "Job":
    """The living job of an earlier attempt, or a new one: the same request makes the same job."""
    for attempt in range(1, ctx.attempt + 1):
        made = await _created(ctx, yard, request, str(attempt))
        if _state(made) not in ("failed", "stopped"):
            break
    return made


async def _created(ctx: Context, yard: "Client", request: _Request, which: str) -> "Job":
    made = await yard.jobs.create(
        request.text, params=request.params, name=request.name, bundle_digest=request.bundle,
        attachments=request.attachments, request_id=request_id_of(ctx, f"train.run/{which}"),
    )  # fmt: skip
    return await yard.jobs.get(made.id)


async def _followed(ctx: Context, yard: "Client", job: "Job") -> "tuple[Job, str]":
    """The ended job, and of a failed one the first instance that had failed: "worker-0"."""
    from modelyard.v1 import job_pb2

    latest, failed = job, ""
    ctx.progress(0.0, f"{job.id} is queued")
    async for change in yard.jobs.watch(job.id):
        for one in change.instances:
            if one.state == job_pb2.INSTANCE_STATE_FAILED:
                failed = failed or f"{one.role}-{one.index}"
        if change.HasField("job"):
            latest = change.job
            ratio = latest.progress.ratio if latest.HasField("progress") else 0.0
            ctx.progress(ratio, _far(latest))
    return await yard.jobs.get(latest.id), failed


def _far(job: "Job") -> str:
    """How far it is, on one line: j-7 running, step 30 of 100, loss 0.25."""
    parts = [f"{job.id} {_state(job)}"]
    if job.HasField("progress"):
        far = job.progress
        total = f" of {far.total_steps}" if far.HasField("total_steps") else ""
        parts += [f"step {far.step}{total}"] if far.HasField("step") else []
        parts += [f"{name} {value:.4g}" for name, value in sorted(far.metrics.items())[:METRICS_MOST]]
        parts += [far.message] if far.message else []
    return ", ".join(parts)


def _why(job: "Job", failed: str, lines: JobLines) -> str:
    """The trainer's word, who failed, and the last thing that it said."""
    if not failed:
        return job.message
    why = job.message if failed in job.message else f"{failed} {job.message}"
    said = lines.last_words(failed)
    return f"{why}; its last line: {said[:WORDS_MOST]}" if said else why


def _state(job: "Job") -> str:
    from modelyard.v1 import job_pb2

    return job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower()


def _told(job: "Job") -> dict[str, Any]:
    outputs = {one.name: {"digest": one.digest, "size_bytes": one.size_bytes} for one in job.outputs}
    return {"id": job.id, "name": job.name, "state": _state(job), "message": job.message, "outputs": outputs}


async def _kept(ctx: Context, yard: "Client", job: "Job", keep: str) -> File | None:
    if not keep:
        return None
    found = {one.name: one.digest for one in job.outputs}
    if keep not in found:
        raise JobFailed(
            f"{job.id} kept no {keep}: it kept {', '.join(sorted(found)) or 'nothing'}",
            "name it in the job file's keep, as role-index/path",
        )
    return File(await yard.artifacts.get(found[keep], ctx.directory / Path(keep).name))
