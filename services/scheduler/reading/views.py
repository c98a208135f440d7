"""Tasks and nodes as callers see them: from the live state or from the database into messages. Decides nothing."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.v1 import agent_link_pb2, node_pb2, task_pb2
from services.scheduler.model import TERMINAL, Cause, Dependency, TaskState, format_task_id, parse_task_id
from services.scheduler.placement.cluster import Node
from services.scheduler.reading import indexes
from services.scheduler.reading.busyness import resources
from services.scheduler.records.rows import ChangeRow, ModificationRow, TaskRow
from services.scheduler.resources import GPU, MEMORY, natural
from services.scheduler.state.effects import QuoteView, RecordChange
from services.scheduler.state.tally import Tally
from services.scheduler.state.task import Task
from services.scheduler.tasks.params import laid_over


def timestamp_of(milliseconds: int) -> Timestamp | None:
    """None for 0: it has not come to that."""
    if not milliseconds:
        return None
    stamp = Timestamp()
    stamp.FromMilliseconds(milliseconds)
    return stamp


def _detail(text: str) -> task_pb2.TaskDetail | None:
    """From "REASON: message"."""
    if not text:
        return None
    reason, _, message = text.partition(": ")
    return task_pb2.TaskDetail(reason=reason, message=message)


def live_task(task: Task, queued_reason: str = "") -> task_pb2.Task:
    """An unfinished task as it is now."""
    reason = task.reason or (queued_reason if task.state is TaskState.QUEUED else "")
    view = task_pb2.Task(
        id=format_task_id(task.key),
        account=task.account,
        name=task.spec.name,
        revision=task.revision,
        state=task_pb2.TaskState.ValueType(task.state),
        detail=_detail(reason),
        node=task.node,
        attempt=task.attempt,
        submit_time=timestamp_of(task.submit_ms),
        assign_time=timestamp_of(task.assign_ms),
        start_time=timestamp_of(task.start_ms),
    )
    view.spec.ParseFromString(task.spec.body)
    _lay_over(view.spec, task.params)
    if task.progress is not None:
        view.progress.ratio, view.progress.message = task.progress
    if task.tally is not None:
        view.array.CopyFrom(_tally(task.tally))
    return view


def _tally(tally: Tally) -> task_pb2.ArrayStatus:
    return task_pb2.ArrayStatus(
        size=tally.total,
        active_count=tally.active,
        succeeded_count=tally.succeeded,
        failed_count=tally.failed,
        cancelled_count=tally.cancelled,
    )


def _lay_over(spec: task_pb2.TaskSpec, params: str) -> None:
    """Shows an item's own parameters in the specification."""
    if params:
        spec.params_json = laid_over(spec.params_json, params)


def name_dependencies(spec: task_pb2.TaskSpec, dependencies: Iterable[Dependency]) -> None:
    """Names what was an item of a submission by its task."""
    for wanted, known in zip(spec.dependencies, dependencies, strict=False):
        wanted.task_id = format_task_id(known.on)


def stored_task(row: TaskRow, changes: list[ChangeRow], *, with_history: bool = False) -> task_pb2.Task:
    """A task as the database knows it; complete for one that has ended."""
    view = task_pb2.Task(
        id=format_task_id(row.key),
        account=row.account,
        revision=row.revision,
        state=task_pb2.TASK_STATE_QUEUED,
        submit_time=timestamp_of(row.submit_ms),
    )
    view.spec.ParseFromString(row.body)
    view.name = view.spec.name
    _lay_over(view.spec, row.params)
    for change in changes:
        _apply(view, change)
    if with_history:
        add_history(view, row, changes)
    return view


def add_tally(view: task_pb2.Task, tally: Mapping[int, int]) -> None:
    """How the elements of an array that has ended did; those that were never made are cancelled."""
    text = view.spec.array_indexes
    view.array.size = len(set(indexes.parse(text))) if text else view.spec.array_size
    view.array.succeeded_count = tally.get(TaskState.SUCCEEDED, 0)
    view.array.failed_count = tally.get(TaskState.FAILED, 0)
    ended = view.array.succeeded_count + view.array.failed_count
    view.array.cancelled_count = view.array.size - ended


def _apply(view: task_pb2.Task, change: ChangeRow) -> None:
    view.revision = change.revision
    view.state = change.state  # type: ignore[assignment]
    view.attempt = change.attempt
    view.node = change.node
    view.detail.CopyFrom(_detail(change.detail) or task_pb2.TaskDetail())
    if change.state == TaskState.ASSIGNED:
        view.assign_time.FromMilliseconds(change.time_ms)
    if change.start_ms:
        view.start_time.FromMilliseconds(change.start_ms)
    if change.state in TERMINAL:
        view.end_time.FromMilliseconds(change.time_ms)
        key = parse_task_id(view.id)
        exited = agent_link_pb2.TaskExited.FromString(change.payload)
        result, error, usage = _payload(exited, change.state, change.cause, change.detail, key)
        if result is not None:
            view.result.CopyFrom(result)
        if error is not None:
            view.error.CopyFrom(error)
        if usage is not None:
            view.usage.CopyFrom(usage)


def add_modifications(view: task_pb2.Task, modifications: Iterable[ModificationRow]) -> None:
    """Puts them into the history, each with the state that the task was in by then."""
    for row in modifications:
        place = sum(change.revision < row.revision for change in view.history)
        before = view.history[place - 1]
        entry = task_pb2.TaskChange(
            revision=row.revision,
            change_time=timestamp_of(row.time_ms),
            state=before.state,
            attempt=before.attempt,
            node=before.node,
            detail=task_pb2.TaskDetail(reason="MODIFIED", message=_said(row)),
        )
        view.history.insert(place, entry)


def _said(row: ModificationRow) -> str:
    """What became of each field, for people."""
    words = [
        f"{verdict.path} {verdict.kind.name.lower()}" + (f": {verdict.message}" if verdict.message else "")
        for verdict in row.verdicts
    ]
    return "; ".join(words)


def add_history(view: task_pb2.Task, row: TaskRow, changes: list[ChangeRow]) -> None:
    """What happened, oldest first."""
    view.history.add(
        revision=row.revision, change_time=timestamp_of(row.submit_ms), state=task_pb2.TASK_STATE_QUEUED
    )
    for change in changes:
        view.history.add(
            revision=change.revision,
            change_time=timestamp_of(change.time_ms),
            state=change.state,
            attempt=change.attempt,
            node=change.node,
            detail=_detail(change.detail),
        )


def _payload(
    exited: agent_link_pb2.TaskExited, state: int, cause: int, detail: str, task: int = 0
) -> tuple[task_pb2.TaskResult | None, task_pb2.TaskError | None, task_pb2.TaskUsage | None]:
    """Result, error and usage from what the agent sent; an error is made up from the record where it sent none."""
    result = exited.result if exited.HasField("result") else None
    usage = exited.usage if exited.HasField("usage") else None
    if state == TaskState.SUCCEEDED:
        return result, None, usage
    error = exited.error if exited.HasField("error") else None
    if error is None or state == TaskState.CANCELLED:
        _, _, message = detail.partition(": ")
        made = task_pb2.TaskError(cause=cause, message=message or detail)  # type: ignore[arg-type]
        if error is not None:
            made.exit_code, made.signal = error.exit_code, error.signal
        error = made
    if cause == Cause.NODE_LOST and error is not None and "started once at most" in error.message:
        error.next_step = f"look what it did; to run it again: yard tasks retry {format_task_id(task)}"
    if cause == Cause.DEPENDENCY and task:
        error.next_step = (
            f"retry both together: yard tasks retry {error.message.split()[0]} {format_task_id(task)}"
        )
    return result, error, usage


def outcome(change: RecordChange) -> task_pb2.TaskOutcome:
    """How a task ended, for those who wait for it."""
    exited = agent_link_pb2.TaskExited.FromString(change.payload)
    result, error, _ = _payload(exited, change.state, change.cause, change.detail, change.task)
    return task_pb2.TaskOutcome(
        task_id=format_task_id(change.task),
        state=task_pb2.TaskState.ValueType(change.state),
        attempt=change.attempt,
        node=change.node,
        result=result,
        error=error,
        revision=change.revision,
        run_time_ms=max(0, exited.end_time_ms - exited.start_time_ms) if exited.start_time_ms else 0,
    )


def outcome_of(task: task_pb2.Task) -> task_pb2.TaskOutcome:
    """The same from a task that has ended."""
    return task_pb2.TaskOutcome(
        task_id=task.id,
        state=task.state,
        attempt=task.attempt,
        node=task.node,
        result=task.result if task.HasField("result") else None,
        error=task.error if task.HasField("error") else None,
        revision=task.revision,
        run_time_ms=_run_time_ms(task),
    )


def _run_time_ms(task: task_pb2.Task) -> int:
    if not task.HasField("start_time"):
        return 0
    return max(0, task.end_time.ToMilliseconds() - task.start_time.ToMilliseconds())


def node(found: Node) -> node_pb2.Node:
    return node_pb2.Node(
        id=found.id,
        state=node_pb2.NodeState.ValueType(found.state),
        detail=node_detail(found),
        labels=found.labels,
        capacity=capacity(found),
        operators=sorted(found.operators),
        running_count=len(found.tasks),
        prefilled_count=len(found.prefilled),
        last_beat_time=timestamp_of(found.wall_beat_ms),
        connect_time=timestamp_of(found.connect_ms),
        agent_version=found.agent_version,
        enforcement=found.enforcement,
        pool=found.pool,
        drain_deadline_time=timestamp_of(found.drain_deadline_ms),
    )


def node_detail(found: Node) -> str:
    """Why a node takes no work, and what comes next; empty for one that does."""
    left = len(found.believed())
    complaint = f"; {found.complaint}" if found.complaint else ""
    if not found.session:
        return (f"not connected; {left} tasks wait for it" if left else "not connected") + complaint
    if found.is_leaving:
        return "its agent was told to stop"
    if found.drain_deadline_ms and not left:
        return "drained: nothing is left here"
    if found.drain_deadline_ms:
        return f"draining, {left} tasks left"
    if found.held_until_ms:
        until = datetime.fromtimestamp(found.held_until_ms // 1000, UTC).isoformat().replace("+00:00", "Z")
        return f"{found.complaint}; until {until}, or: yard nodes uncordon {found.id}"
    return "" if found.takes_work() else "takes no new work"


def quote(found: QuoteView | None) -> node_pb2.Quote:
    assert found is not None, "the machine answers with a quote or an error"
    rooms = [
        node_pb2.QuotedRoom(node=room.node, resources=resources(room.amounts), gpu_devices=room.devices)
        for room in found.rooms
    ]
    return node_pb2.Quote(
        id=found.id, account=found.account, rooms=rooms, expire_time=timestamp_of(found.expire_ms)
    )


def capacity(found: Node) -> node_pb2.NodeCapacity:
    custom = {n: natural(n, a) for n, a in found.capacity.items() if n not in ("cpu", MEMORY, GPU)}
    return node_pb2.NodeCapacity(
        cpu=natural("cpu", found.capacity.get("cpu", 0)),
        memory_bytes=found.capacity.get(MEMORY, 0),
        gpu_devices=found.devices.names,
        custom=custom,
    )
