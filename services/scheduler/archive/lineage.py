"""What the scheduler knows of where things come from: what tasks were given, what they gave, for whom they ran.

Each only for who may see the task. Reads; changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from modelyard.v1 import lineage_pb2 as pb
from modelyard.v1 import task_pb2
from services.chassis.rpc.lineage import BESIDE, DOWN, UP, Ask, Found, Source, link, paged, thing
from services.chassis.security import ADMIN
from services.scheduler.archive.past import Past
from services.scheduler.model import STRIDE, array_of, format_task_id, index_of, parse_task_id
from services.scheduler.reading.tasks import Tasks
from services.scheduler.refusals import TaskNotFound

LOOKED_AT = 20_000
"""Tasks of an account that one page looks at for those that name a set of artefacts."""
_LAST = 1 << 62


class TaskLineage:
    """Of tasks, and of the sets of artefacts that their specifications name."""

    def __init__(self, tasks: Tasks, past: Past) -> None:
        self._tasks = tasks
        self._past = past

    def sources(self) -> Mapping[int, Source]:
        return {pb.THING_KIND_TASK: self.task, pb.THING_KIND_INPUT_SET: self.input_set}

    async def task(self, ask: Ask) -> Found:
        """Raises TaskNotFound, MalformedTaskId."""
        key = parse_task_id(ask.id, "subject.id")
        task = await self._tasks.get(key, ask.caller)
        links = [*_given(task.spec), *_around(task, key), *_made(task)]
        if task.spec.array_size and index_of(key) < 0 and ask.wants(DOWN):
            elements = await self._past.elements(key, STRIDE)
            links += [
                link(DOWN, thing(pb.THING_KIND_TASK, format_task_id(one)), "element") for one in elements
            ]
        return paged(ask, thing_of(task), links)

    async def input_set(self, ask: Ask) -> Found:
        """Tasks that name a set of artefacts ("inputs:…/DIGEST": one of which is asked for), newest first; arrays
        without their elements. A page may be empty and not the last one."""
        holder, _, digest = ask.id.partition("/")
        account = None if ask.caller.role == ADMIN else ask.caller.account
        before = ask.offset if ask.cursor else _LAST
        naming = await self._past.naming(holder, account, min(before, _LAST), LOOKED_AT, ask.most)
        if naming is None:
            raise TaskNotFound
        links = []
        for key in naming.keys:
            task = await self._tasks.get(key, ask.caller)
            links.append(link(DOWN, thing_of(task), _relation(task.spec, digest)))
        subject = thing(pb.THING_KIND_INPUT_SET, ask.id, account=naming.account)
        return Found(subject, links, str(naming.before or ""))


def thing_of(task: task_pb2.Task) -> pb.Thing:
    """A task by what it runs."""
    moment = task.end_time if task.HasField("end_time") else task.submit_time
    state = task_pb2.TaskState.Name(task.state).removeprefix("TASK_STATE_").lower()
    return thing(
        pb.THING_KIND_TASK, task.id, name=task.name or _work(task.spec), state=state,
        time_ms=moment.ToMilliseconds(), account=task.account,
    )  # fmt: skip


def _work(spec: task_pb2.TaskSpec) -> str:
    work = spec.WhichOneof("work")
    if work == "command":
        return " ".join(spec.command.argv)[:80]
    if work == "seat":
        return f"{spec.seat.role} of {spec.seat.job_id}"
    return spec.operator.operator


def _artifact(digest: str, name: str = "") -> pb.Thing:
    return thing(pb.THING_KIND_ARTIFACT, digest, name=name)


def _given(spec: task_pb2.TaskSpec) -> Iterator[pb.Link]:
    for name, given in sorted(spec.inputs.items()):
        if given.digest:
            yield link(UP, _artifact(given.digest), f"input {name}")
    for attached in spec.attachments:
        yield link(UP, _artifact(attached.digest), f"attachment {attached.path}")
    if spec.bundle_digest:
        yield link(UP, _artifact(spec.bundle_digest), "directory")


def _made(task: task_pb2.Task) -> Iterator[pb.Link]:
    if task.result.value_digest:
        yield link(DOWN, _artifact(task.result.value_digest), "result")
    for output in task.result.outputs:
        yield link(DOWN, _artifact(output.digest, output.name), f"output {output.name}")


def _around(task: task_pb2.Task, key: int) -> Iterator[pb.Link]:
    """What it is part of, and whom it waited for."""
    seat, run = task.spec.seat, task.spec.labels.get("run", "")
    if seat.job_id.startswith("j-"):
        yield link(BESIDE, thing(pb.THING_KIND_JOB, seat.job_id), f"seat of {seat.role}")
    elif seat.job_id.startswith("f-"):
        yield link(BESIDE, thing(pb.THING_KIND_FRAME, seat.job_id), "seat")
    elif run.startswith("r-"):
        yield link(BESIDE, thing(pb.THING_KIND_NODE, f"{run}@{task.id}"), "ran for")
    if index_of(key) >= 0:
        yield link(UP, thing(pb.THING_KIND_TASK, format_task_id(array_of(key))), "element of")
    for on in _known(task.spec.dependencies):
        yield link(UP, thing(pb.THING_KIND_TASK, on), "after")


def _known(dependencies: Iterable[task_pb2.Dependency]) -> Iterator[str]:
    for one in dependencies:
        if one.WhichOneof("on") == "task_id":
            yield one.task_id


def _relation(spec: task_pb2.TaskSpec, digest: str) -> str:
    """What an artefact is to the task."""
    found = [one.relation for one in _given(spec) if one.thing.id == digest]
    return ", ".join(found) or "input, before the task was modified"
