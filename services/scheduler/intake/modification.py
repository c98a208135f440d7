"""How a modification gets from its message to the machine, and its verdicts back (S0.7): checked here, not decided."""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import msgspec

from modelyard.v1 import task_pb2
from services.chassis.requests import masks
from services.chassis.security import Principal
from services.scheduler.engine import Engine
from services.scheduler.intake import asked_params, attachments, specs
from services.scheduler.intake.inputs import Inputs
from services.scheduler.intake.operators import Operators
from services.scheduler.intake.submission import check_request_id, recall
from services.scheduler.model import (
    AttachmentChange,
    FieldVerdict,
    Policy,
    Shape,
    Spec,
    VerdictKind,
    parse_task_id,
)
from services.scheduler.placement import fitting
from services.scheduler.placement.cluster import Node
from services.scheduler.reading.tasks import Tasks
from services.scheduler.refusals import InvalidRequest, RevisionStale
from services.scheduler.requests.modification import (
    ATTACHMENTS,
    LABELS,
    PARAMS,
    PARAMS_JSON,
    PATHS,
    REFUSABLE,
    RESOURCES,
    RUNNING_PATHS,
)
from services.scheduler.state.effects import Answer
from services.scheduler.state.events import ModifyRequested
from services.scheduler.state.task import Task
from services.scheduler.tasks.params import laid_over

# How long an answer waits for the agent's word; what it has not said by then is deferred.
ANSWER_S = 3.0
MOST_TRIES = 8
MOST_LABELS = 256
FIELD = "changes"
# Not replaced, but laid over what is there.
_LAID_OVER = (PARAMS, PARAMS_JSON, LABELS, ATTACHMENTS, RESOURCES)
_NOTHING = Spec(0, b"", Shape("", (), "", (), Policy.LEAST_LOADED, "", 0))


class Change(msgspec.Struct, frozen=True):
    """The fields of `ModifyRequested` under the same names."""

    waiting: Spec
    running: Spec
    base: int = 0
    params: str = ""
    attachments: tuple[AttachmentChange, ...] = ()
    fallbacks: tuple[tuple[tuple[str, ...], Spec], ...] = ()


class Modification:
    """Changes one task at a time, for whoever may see it."""

    def __init__(self, engine: Engine, tasks: Tasks, operators: Operators, inputs: Inputs) -> None:
        self._engine = engine
        self._tasks = tasks
        self._operators = operators
        self._inputs = inputs

    async def modify(
        self, request: task_pb2.ModifyTaskRequest, caller: Principal
    ) -> task_pb2.ModifyTaskResponse:
        """The task and a verdict for each field, as they are on disk. Safe to cancel: the change then stands."""
        check_request_id(request.request_id)
        key = parse_task_id(request.task_id)
        paths = paths_of(request)
        if request.revision < 0:
            raise InvalidRequest("revision: it is negative", field="revision", next_step="0 stands for any")
        await self._tasks.get(key, caller)
        await recall(self._engine, caller.account, request.request_id)
        revision = await self._ask(request, caller, key, paths)
        is_under_way = await self.settle({key: revision})
        task = await self._tasks.get(key, caller)
        verdicts = await self._verdicts(key, revision, paths, is_under_way)
        return task_pb2.ModifyTaskResponse(task=task, verdicts=verdicts)

    async def _ask(
        self, request: task_pb2.ModifyTaskRequest, caller: Principal, key: int, paths: tuple[str, ...]
    ) -> int:
        """The revision of the modification. Asks again if the task was changed between reading it and deciding."""
        for tries_left in reversed(range(MOST_TRIES)):
            event, answer = await self._event(request, caller, key, paths)
            self._engine.post(event)
            try:
                return (await answer).first
            except RevisionStale:
                if request.revision or not tries_left:
                    raise
        raise AssertionError("unreachable")

    async def _event(
        self, request: task_pb2.ModifyTaskRequest, caller: Principal, key: int, paths: tuple[str, ...]
    ) -> tuple[ModifyRequested, asyncio.Future[Answer]]:
        state = self._engine.state
        task = state.tasks.get(key)
        # Of a task that has ended, and of a request that was answered before, only the machine says more.
        change = Change(_NOTHING, _NOTHING)
        if task is not None and (caller.account, request.request_id) not in state.requests:
            change = self.change_of(task, request.changes, paths)
            await self.refer(task.account, [change])
        reply, answer = self._engine.new_reply()
        content = hashlib.sha256(_bare(request).SerializeToString(deterministic=True)).digest()
        event = ModifyRequested(
            reply, caller.account, request.request_id, content, key, request.revision, paths, change.params,
            change.base, change.waiting, change.running, change.attachments, change.fallbacks,
        )  # fmt: skip
        return event, answer

    def change_of(self, task: Task, changes: task_pb2.TaskChanges, paths: Sequence[str]) -> "Change":
        """What the changes come to for one task. Raises where they do not fit it."""
        params = self._params(changes, task) if PARAMS in paths or PARAMS_JSON in paths else ""
        waiting = self._changed(task, changes, paths)
        if RESOURCES in paths and not task.node:
            fitting.check_placeable(waiting.shape, self._engine.state.cluster, FIELD)
        return Change(
            waiting=waiting,
            running=self._changed(task, changes, [path for path in paths if path in RUNNING_PATHS]),
            base=task.spec.number,
            params=params,
            attachments=tuple(
                AttachmentChange(item.path, item.digest, item.is_directory)
                for item in (changes.attachments if ATTACHMENTS in paths else ())
            ),
            fallbacks=tuple((out, self._without(task, changes, paths, out)) for out in _subsets(paths)),
        )

    async def refer(self, account: str, changes: Iterable["Change"]) -> None:
        """Makes sure that what changed specifications name is in the store."""
        for change in changes:
            fallbacks = [spec for _, spec in change.fallbacks]
            await self._inputs.refer(account, (change.waiting, change.running, *fallbacks))

    def _without(
        self, task: Task, changes: task_pb2.TaskChanges, paths: Sequence[str], out: tuple[str, ...]
    ) -> Spec:
        """What a task on a node has if its agent refuses some of the paths."""
        return self._changed(task, changes, [p for p in paths if p in RUNNING_PATHS and p not in out])

    def _params(self, changes: task_pb2.TaskChanges, task: Task) -> str:
        """What is to be laid over the parameters; the whole of them must fit the operator."""
        own = task_pb2.TaskSpec(params_json=changes.params_json)
        if changes.HasField("params"):
            own.params.CopyFrom(changes.params)
        asked_params.settle_params(own, FIELD)
        spec = task_pb2.TaskSpec.FromString(task.spec.body)
        whole = laid_over(spec.params_json, task.params)
        for earlier in task.pending:
            whole = laid_over(whole, earlier.params)
        whole = laid_over(whole, own.params_json)
        field = f"{FIELD}.params_json"
        values = asked_params.params_object(whole or "{}", field)
        asked_params.check_params(
            task.spec.shape.operator,
            values,
            self._operators.schemas,
            field,
            has_more=bool(spec.parameter_env),
        )
        return own.params_json or "{}"

    def _changed(self, task: Task, changes: task_pb2.TaskChanges, paths: Sequence[str]) -> Spec:
        """The task's specification with these fields changed; the known one if there is one."""
        spec = task_pb2.TaskSpec.FromString(task.spec.body)
        masks.copy_paths(changes, spec, [path for path in paths if path not in _LAID_OVER])
        if ATTACHMENTS in paths:
            laid = attachments.laid_over(spec.attachments, changes.attachments)
            del spec.attachments[:]
            spec.attachments.extend(laid)
        if RESOURCES in paths:
            _lay_over_resources(spec.resources, changes.resources)
        if LABELS in paths:
            for name, value in changes.labels.items():
                if value:
                    spec.labels[name] = value
                else:
                    spec.labels.pop(name, None)
        changed = specs.convert(spec, task.account, FIELD)
        return self._engine.state.specs.get((task.account, changed.body), changed)

    async def settle(self, changes: Mapping[int, int]) -> bool:
        """Waits for the agents' word on changes (revision by key), while it can be had and for no longer than
        `ANSWER_S`; whether some is missing."""
        engine = self._engine
        with engine.watch() as changed:
            try:
                async with asyncio.timeout(ANSWER_S):
                    while any(node.session for node in self._holders(changes)):
                        changed.clear()
                        await changed.wait()
                    end = engine.state.revision
                    # What was just seen may still be on its way to the disk.
                    while engine.released_revision < end:
                        changed.clear()
                        await changed.wait()
            except TimeoutError:
                pass
        return any(True for _ in self._holders(changes))

    def _holders(self, changes: Mapping[int, int]) -> Iterator[Node]:
        holders = (self._holder(key, revision) for key, revision in changes.items())
        return (node for node in holders if node is not None)

    def _holder(self, key: int, revision: int) -> Node | None:
        """The node whose agent is yet to take the change in; None: there is nothing to wait for any more."""
        task = self._engine.state.tasks.get(key)
        if task is None or all(change.revision != revision for change in task.pending):
            return None
        return self._engine.state.cluster.nodes[task.node]

    async def _verdicts(
        self, key: int, revision: int, paths: Sequence[str], is_under_way: bool
    ) -> list[task_pb2.FieldVerdict]:
        """The latest word on each field."""
        verdicts = await self._engine.store.get_verdicts(key, revision)
        return self.said(key, revision, verdicts, paths, is_under_way)

    def said(
        self,
        key: int,
        revision: int,
        verdicts: Iterable[FieldVerdict],
        paths: Sequence[str],
        is_under_way: bool,
    ) -> list[task_pb2.FieldVerdict]:
        """The latest word on each field, from all that was recorded of one change, oldest first."""
        latest = {verdict.path: verdict for verdict in verdicts}
        return [self._verdict(latest[path], key, revision, is_under_way) for path in paths]

    def _verdict(
        self, verdict: FieldVerdict, key: int, revision: int, is_under_way: bool
    ) -> task_pb2.FieldVerdict:
        kind, message = verdict.kind, verdict.message
        if kind is VerdictKind.DEFERRED:
            node = self._holder(key, revision)
            if not is_under_way:
                kind, message = VerdictKind.REJECTED, "it ended before its agent took the change in"
            elif node is not None and node.session:
                message = f"{node.id} has been told and has not answered yet"
        number = task_pb2.FieldVerdictKind.ValueType(kind)
        return task_pb2.FieldVerdict(path=verdict.path, kind=number, message=message)


def paths_of(request: task_pb2.ModifyTaskRequest | task_pb2.ModifyTasksRequest) -> tuple[str, ...]:
    """What is to change, in the order of `PATHS`."""
    changes = request.changes
    named = request.update_mask.paths or masks.set_paths(changes, PATHS)
    paths = masks.check_paths(named, PATHS, "update_mask")
    if PARAMS in paths and PARAMS_JSON in paths:
        raise InvalidRequest(
            "update_mask: params and params_json are two spellings of one field", field="update_mask",
            next_step="use one of them",
        )  # fmt: skip
    if len(changes.labels) > MOST_LABELS:
        raise InvalidRequest(
            f"{len(changes.labels)} labels are more than {MOST_LABELS}", field=f"{FIELD}.labels"
        )
    return paths


def _subsets(paths: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Every choice of the paths that an agent may refuse, each sorted."""
    asked = sorted(path for path in paths if path in REFUSABLE)
    return tuple(out for size in range(1, len(asked) + 1) for out in combinations(asked, size))


def _lay_over_resources(present: task_pb2.Resources, changes: task_pb2.Resources) -> None:
    """What is set of them; the rest stays."""
    present.MergeFrom(changes)


def _bare(request: task_pb2.ModifyTaskRequest) -> task_pb2.ModifyTaskRequest:
    """What makes two requests the same, whatever their id."""
    bare = task_pb2.ModifyTaskRequest()
    bare.CopyFrom(request)
    bare.ClearField("request_id")
    return bare
