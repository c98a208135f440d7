"""Changing all unfinished tasks that a filter names, all or none: found here, decided by the machine."""

import asyncio
import hashlib
from collections.abc import Callable

from modelyard.v1 import task_pb2 as pb
from services.chassis.security import ADMIN, Principal
from services.scheduler.engine import Engine
from services.scheduler.intake.modification import MOST_TRIES, Change, Modification, paths_of
from services.scheduler.intake.submission import check_request_id, recall
from services.scheduler.model import TERMINAL, FieldVerdict, array_of, format_task_id, parse_task_id
from services.scheduler.records.rows import ModificationRow
from services.scheduler.refusals import (
    InvalidRequest,
    NotYourAccount,
    RevisionStale,
    TaskHasEnded,
    TooManyMatches,
)
from services.scheduler.requests import modification
from services.scheduler.state.events import ModifyRequested, TasksModifyRequested
from services.scheduler.state.task import Task

MOST_TASKS = 10_000
# So many tasks are looked at before others have their turn.
STRIDE_TASKS = 20_000


class MassModification:
    """Changes many tasks in one request, for whoever may see them."""

    def __init__(self, engine: Engine, modification: Modification) -> None:
        self._engine = engine
        self._modification = modification

    async def modify(self, request: pb.ModifyTasksRequest, caller: Principal) -> pb.ModifyTasksResponse:
        """The changed tasks with a verdict for each field. Safe to cancel: the change then stands."""
        check_request_id(request.request_id)
        paths = paths_of(request)
        _check(request, caller)
        if request.validate_only:
            return await self._foresee(request, caller, paths)
        await recall(self._engine, caller.account, request.request_id)
        first, count = await self._ask(request, caller, paths)
        rows = await self._engine.store.get_modifications_of_request(first, count) if count else []
        is_under_way = await self._modification.settle({row.task: row.request_revision for row in rows})
        rows = await self._engine.store.get_modifications_of_request(first, count) if count else []
        by_task: dict[int, list[ModificationRow]] = {}
        for row in rows:
            by_task.setdefault(row.task, []).append(row)
        return pb.ModifyTasksResponse(
            tasks=[
                pb.ModifiedTask(
                    task_id=format_task_id(key),
                    revision=found[0].request_revision,
                    verdicts=self._modification.said(
                        key,
                        found[0].request_revision,
                        [verdict for row in found for verdict in row.verdicts],
                        paths,
                        is_under_way,
                    ),
                )
                for key, found in sorted(by_task.items())
            ]
        )

    async def _ask(
        self, request: pb.ModifyTasksRequest, caller: Principal, paths: tuple[str, ...]
    ) -> tuple[int, int]:
        """First revision and number of revisions. Asks again if a task was changed, or ended, in between."""
        content = _content(request)
        for tries_left in reversed(range(MOST_TRIES)):
            changes: tuple[ModifyRequested, ...] = ()
            if (caller.account, request.request_id) not in self._engine.state.requests:
                changes = await self._changes(request, caller, paths)
            reply, answer = self._engine.new_reply()
            self._engine.post(
                TasksModifyRequested(reply, caller.account, request.request_id, content, changes)
            )
            try:
                answered = await answer
                return answered.first, answered.count
            except (RevisionStale, TaskHasEnded):
                if not tries_left:
                    raise
        raise AssertionError("unreachable")

    async def _changes(
        self, request: pb.ModifyTasksRequest, caller: Principal, paths: tuple[str, ...]
    ) -> tuple[ModifyRequested, ...]:
        tasks = await self._matching(request, caller)
        # Tasks of one specification and the same parameters change alike.
        alike: dict[tuple[object, ...], Change] = {}
        made = []
        for number, task in enumerate(tasks):
            kind = (task.spec.number, task.params, task.pending, bool(task.node))
            change = alike.get(kind)
            if change is None:
                change = alike[kind] = self._modification.change_of(task, request.changes, paths)
                await self._modification.refer(task.account, [change])
            made.append(
                ModifyRequested(
                    0, caller.account, "", b"", task.key, 0, paths, change.params, change.base, change.waiting,
                    change.running, change.attachments, change.fallbacks,
                )
            )  # fmt: skip
            if number % 500 == 499:
                await asyncio.sleep(0)
        return tuple(made)

    async def _foresee(
        self, request: pb.ModifyTasksRequest, caller: Principal, paths: tuple[str, ...]
    ) -> pb.ModifyTasksResponse:
        found = pb.ModifyTasksResponse()
        for task in await self._matching(request, caller):
            self._modification.change_of(task, request.changes, paths)
            verdicts = [_view(verdict) for verdict in modification.foresee(task, paths)]
            found.tasks.add(task_id=format_task_id(task.key), revision=task.revision, verdicts=verdicts)
        return found

    async def _matching(self, request: pb.ModifyTasksRequest, caller: Principal) -> list[Task]:
        """As `ListTasks` with the same filter would show them, oldest first. Raises `TooManyMatches`."""
        meets = _condition(request.filter, caller)
        found: list[Task] = []
        for number, task in enumerate(list(self._engine.state.tasks.values())):
            if meets(task) and task.key in self._engine.state.tasks:
                found.append(task)
            if number % STRIDE_TASKS == STRIDE_TASKS - 1:
                await asyncio.sleep(0)
        if len(found) > MOST_TASKS:
            raise TooManyMatches(
                f"{len(found)} tasks meet the filter; at most {MOST_TASKS} can be changed at once",
                field="filter", next_step="narrow it, for example by name, label or state",
            )  # fmt: skip
        return sorted(found, key=lambda task: task.key)


def _check(request: pb.ModifyTasksRequest, caller: Principal) -> None:
    wanted = request.filter
    conditions = (wanted.states, wanted.name, wanted.node, wanted.labels, wanted.array_task_id)
    if not any(conditions) and not request.all_tasks:
        raise InvalidRequest(
            "filter: it has no condition", field="filter",
            next_step="set one, or all_tasks if every unfinished task is meant",
        )  # fmt: skip
    if any(conditions) and request.all_tasks:
        raise InvalidRequest(
            "all_tasks: the filter has conditions too", field="all_tasks", next_step="use one of them"
        )
    if any(int(state) in TERMINAL for state in wanted.states):
        raise InvalidRequest(
            "filter.states: a task that has ended cannot be changed", field="filter.states",
            next_step="name states of unfinished tasks",
        )  # fmt: skip
    if wanted.all_accounts and caller.role != ADMIN:
        raise NotYourAccount("all_accounts is for administrators", field="filter.all_accounts")


def _condition(wanted: pb.TaskFilter, caller: Principal) -> Callable[[Task], bool]:
    """Elements of arrays are meant only where their array is named."""
    array = parse_task_id(wanted.array_task_id, "filter.array_task_id") if wanted.array_task_id else 0
    states = frozenset(int(state) for state in wanted.states)
    labels = dict(wanted.labels)
    has_labels: dict[int, bool] = {}

    def carries(task: Task) -> bool:
        known = has_labels.get(task.spec.number)
        if known is None:
            own = pb.TaskSpec.FromString(task.spec.body).labels
            known = has_labels[task.spec.number] = all(own.get(k) == v for k, v in labels.items())
        return known

    def meets(task: Task) -> bool:
        if task.account != caller.account and not wanted.all_accounts:
            return False
        if task.is_element != bool(array) or (array and array_of(task.key) != array):
            return False
        if (states and int(task.state) not in states) or (wanted.node and task.node != wanted.node):
            return False
        if wanted.name and task.spec.name != wanted.name:
            return False
        return not labels or carries(task)

    return meets


def _content(request: pb.ModifyTasksRequest) -> bytes:
    """What makes two requests the same, whatever their id."""
    bare = pb.ModifyTasksRequest()
    bare.CopyFrom(request)
    bare.ClearField("request_id")
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).digest()


def _view(verdict: FieldVerdict) -> pb.FieldVerdict:
    kind = pb.FieldVerdictKind.ValueType(verdict.kind)
    return pb.FieldVerdict(path=verdict.path, kind=kind, message=verdict.message)
