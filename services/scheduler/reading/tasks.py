"""Reading tasks: the live ones from the state, the others from the database, each only for who may see it."""

from collections.abc import Iterable

from modelyard.v1 import task_pb2 as pb
from services.chassis.clock import Clock
from services.chassis.requests.paging import PageTokenInvalid, decode_token, encode_token, page_size
from services.chassis.security import ADMIN, TASK, Principal
from services.scheduler.engine import Engine
from services.scheduler.model import (
    MAIN_QUEUE,
    TaskState,
    array_of,
    format_task_id,
    index_of,
    number_of,
    parse_task_id,
)
from services.scheduler.reading import views
from services.scheduler.records.restart import DAY_MS
from services.scheduler.records.store import SchedulerStore
from services.scheduler.refusals import NotYourAccount, TaskNotFound
from services.scheduler.scheduling import gates
from services.scheduler.state.task import Task
from services.scheduler.tasks.arrays import has_unmade

SCAN_KEYS = 2_000
MOST_SCANS = 50
# A page may end before its size is reached: messages stay below 4 MiB.
PAGE_BYTES = 1 << 20


def may_see(caller: Principal, account: str, key: int) -> bool:
    if caller.role == TASK:
        return caller.task_id == format_task_id(key)
    return caller.role == ADMIN or caller.account == account


class Tasks:
    """A task of another account is as if it were not there."""

    def __init__(self, engine: Engine, store: SchedulerStore, clock: Clock) -> None:
        self._engine = engine
        self.store = self._store = store
        self._clock = clock

    async def get(self, key: int, caller: Principal, *, with_history: bool = False) -> pb.Task:
        """Raises `TaskNotFound`."""
        view = await self._get(key, caller, with_history)
        if any(one.WhichOneof("on") == "item_index" for one in view.spec.dependencies):
            views.name_dependencies(view.spec, await self._store.get_dependencies(array_of(key)))
        if view.history:
            views.add_modifications(view, await self._store.get_modifications(key))
        return view

    async def _get(self, key: int, caller: Principal, with_history: bool) -> pb.Task:
        task = self._engine.state.tasks.get(key)
        if task is not None and not may_see(caller, task.account, key):
            raise _not_found(key, self._engine.state.next_number)
        if task is not None and not with_history:
            return self.view(task)
        if task is None and has_unmade(self._engine.state, key):
            return self._unmade(key, caller)
        stored = await self._store.get_task(key)
        if stored is None or not may_see(caller, stored[0].account, key):
            raise _not_found(key, self._engine.state.next_number)
        row, changes = stored
        # It may have ended while the database was read.
        task = self._engine.state.tasks.get(key)
        if task is not None:
            view = self.view(task)
            views.add_history(view, row, changes)
            return view
        if changes and not TaskState(changes[-1].state).is_terminal:
            row, changes = await self._store.get_task(key) or stored
        view = views.stored_task(row, changes, with_history=with_history)
        if view.spec.array_size and index_of(key) < 0:
            views.add_tally(view, await self._store.get_tally(key))
        return view

    def _unmade(self, key: int, caller: Principal) -> pb.Task:
        """An element whose turn has not come: it is what its array says."""
        array = self._engine.state.tasks[array_of(key)]
        if not may_see(caller, array.account, key):
            raise _not_found(key, self._engine.state.next_number)
        view = views.live_task(array)
        view.id = format_task_id(key)
        view.state = pb.TASK_STATE_HELD if array.state is TaskState.HELD else pb.TASK_STATE_QUEUED
        view.detail.reason, view.detail.message = "WAITING_FOR_ARRAY", "its turn in the array has not come"
        for name in ("array", "start_time", "assign_time"):
            view.ClearField(name)
        return view

    async def get_all(self, keys: Iterable[int], caller: Principal) -> list[pb.Task]:
        """Tasks beyond what fits into one message come without their specifications."""
        found = []
        size_bytes = 0
        for key in keys:
            task = await self.get(key, caller)
            if size_bytes > PAGE_BYTES:
                task.ClearField("spec")
                task.ClearField("result")
            size_bytes += task.ByteSize()
            found.append(task)
        return found

    def view(self, task: Task) -> pb.Task:
        """A live task, with the reason why it waits."""
        reason = ""
        if task.state is TaskState.QUEUED:
            known = len(self._engine.state.cluster.nodes)
            reason = "WAITING_FOR_RESOURCES: " + ("no node fits now" if known else "there is no node yet")
            for gate in gates.closed(self._engine.state, task, self._engine.now()):
                reason = f"WAITING_FOR_{gate.reason}: {gate.message}"
                break
            if task.key in self._engine.state.backing_off:
                reason = f"BACKING_OFF: {task.reason or 'before the next attempt'}"
        return views.live_task(task, reason)

    async def page(self, request: pb.ListTasksRequest, caller: Principal) -> pb.ListTasksResponse:
        """One page, newest first; the page token is the key to go on before."""
        wanted = request.filter
        if wanted.all_accounts and caller.role != ADMIN:
            raise NotYourAccount("all_accounts is for administrators", field="filter.all_accounts")
        size = page_size(request.page_size)
        filter_key = wanted.SerializeToString(deterministic=True)
        cursor = decode_token(request.page_token, filter_key)
        before = _position(cursor) if cursor else 1 << 62
        revision = self._engine.released_revision
        found: list[pb.Task] = []
        size_bytes = 0
        for _ in range(MOST_SCANS):
            keys = await self._keys(wanted, caller, before, max(SCAN_KEYS, size))
            for key in keys:
                before = key
                task = await self._matching(key, wanted, caller)
                if task is not None:
                    found.append(task)
                    size_bytes += task.ByteSize()
                    if len(found) == size or size_bytes > PAGE_BYTES:
                        token = encode_token(str(before), filter_key)
                        return pb.ListTasksResponse(tasks=found, next_page_token=token, revision=revision)
            if len(keys) < max(SCAN_KEYS, size):
                return pb.ListTasksResponse(tasks=found, revision=revision)
        token = encode_token(str(before), filter_key)
        return pb.ListTasksResponse(tasks=found, next_page_token=token, revision=revision)

    async def _keys(self, wanted: pb.TaskFilter, caller: Principal, before: int, most: int) -> list[int]:
        account = None if wanted.all_accounts else caller.account
        ended_after_ms = 0 if wanted.all_times else self._clock.now_ms() - DAY_MS
        array = parse_task_id(wanted.array_task_id, "filter.array_task_id") if wanted.array_task_id else 0
        return await self._store.list_tasks(account, before, ended_after_ms, most, array)

    async def _matching(self, key: int, wanted: pb.TaskFilter, caller: Principal) -> pb.Task | None:
        live = self._engine.state.tasks.get(key)
        if live is not None and wanted.states and int(live.state) not in wanted.states:
            return None
        if live is not None and wanted.queue and live.spec.shape.queue != wanted.queue:
            return None
        try:
            task = await self.get(key, caller)
        except TaskNotFound:
            return None
        if wanted.states and task.state not in wanted.states:
            return None
        if (wanted.name and task.name != wanted.name) or (wanted.node and task.node != wanted.node):
            return None
        if any(task.spec.labels.get(name) != value for name, value in wanted.labels.items()):
            return None
        if wanted.queue and (task.spec.queue or MAIN_QUEUE) != wanted.queue:
            return None
        return task


def _position(cursor: str) -> int:
    """The key that a page token goes on before; tokens are no secret, so it may be anything."""
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise PageTokenInvalid(field="page_token")
    return int(cursor)


def _not_found(key: int, next_number: int = 0) -> TaskNotFound:
    message = f"there is no task {format_task_id(key)}"
    if number_of(key) < next_number:
        # Said of another account's task as well.
        message += ", or it ended long ago and is no longer kept"
    return TaskNotFound(message, field="task_id", next_step="yard tasks ls")
