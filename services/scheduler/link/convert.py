"""Between the messages of the agent link and the machine's events and effects. No decisions here."""

from collections.abc import Callable, Mapping

from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1 import node_pb2, task_pb2
from services.scheduler.model import Cause, format_task_id, index_of, parse_task_id
from services.scheduler.refusals import InvalidRequest
from services.scheduler.resources import CPU, GPU, MEMORY, SCALE
from services.scheduler.state import events as ev
from services.scheduler.state.effects import (
    Command,
    ModifyTask,
    ResumeTask,
    RetractTask,
    StartTask,
    SuspendTask,
    Verdict,
)

MOST_AMOUNT = 1e15
# The end of the year 9999, beyond which a Timestamp cannot say it.
MOST_TIME_MS = 253_402_300_799_000
SignTask = Callable[[int, int, int, str], str]
_KEEP, _STOP, _FORGET = pb.VERDICT_KIND_KEEP, pb.VERDICT_KIND_STOP, pb.VERDICT_KIND_FORGET
_VERDICTS = {"KEEP": _KEEP, "STOP": _STOP, "FORGET": _FORGET}
_CAUSES = {int(cause): cause for cause in Cause}


def capacity(message: node_pb2.NodeCapacity) -> dict[str, int]:
    """Amounts by resource; devices are counted elsewhere."""
    values = {CPU: message.cpu, MEMORY: message.memory_bytes, **message.custom}
    for name, value in values.items():
        if not 0 <= value <= MOST_AMOUNT:
            raise InvalidRequest(f"capacity: {value} of {name!r} is not an amount", field=f"capacity.{name}")
    return {name: round(value) if name == MEMORY else round(value * SCALE) for name, value in values.items()}


def hello(message: pb.Hello, node: str, session: int) -> ev.AgentConnected:
    return ev.AgentConnected(
        node=node,
        session=session,
        boot_id=message.boot_id,
        incarnation=message.incarnation,
        labels=dict(message.labels),
        capacity=capacity(message.capacity),
        gpu_devices=tuple(message.capacity.gpu_devices),
        operators=frozenset(operator.name for operator in message.operators),
        tasks=tuple(_held(task) for task in message.tasks),
        version=message.agent_version,
        enforcement=message.enforcement,
    )


def _held(task: pb.HeldTask) -> ev.HeldTask:
    key = parse_task_id(task.task_id)
    ended = _exited(key, task.attempt, task.epoch, task.exited) if task.HasField("exited") else None
    is_running = task.state == pb.HELD_STATE_RUNNING
    return ev.HeldTask(key, task.attempt, task.epoch, is_running, ended, task.is_suspended)


def _measured(value: float) -> int:
    """A figure that cannot be is none."""
    return round(value * SCALE) if 0 <= value <= MOST_AMOUNT else 0


def _time_ms(value: int) -> int:
    """What an agent's clock says, as far as it can be kept."""
    return min(max(value, 0), MOST_TIME_MS)


def beat(message: pb.Beat, node: str, session: int) -> ev.BeatReceived:
    windows: dict[int, Mapping[str, int]] = {
        usage.window_s: {
            CPU: _measured(usage.cpu), MEMORY: max(usage.memory_bytes, 0), GPU: _measured(usage.gpu),
        }
        for usage in message.windows
    }  # fmt: skip
    samples = {
        parse_task_id(sample.task_id): (_measured(sample.cpu), max(sample.memory_bytes, 0))
        for sample in message.tasks
    }
    return ev.BeatReceived(node, session, message.number, message.as_of_command, windows, samples)


def reports(message: pb.Events, node: str, session: int) -> ev.TasksReported:
    return ev.TasksReported(node, session, message.first_number, tuple(map(_report, message.events)))


def _report(event: pb.TaskEvent) -> ev.TaskReport:
    key = parse_task_id(event.task_id)
    attempt, epoch = event.attempt, event.epoch
    kind = event.WhichOneof("event")
    if kind == "exited":
        return _exited(key, attempt, epoch, event.exited)
    if kind == "started":
        return ev.TaskStarted(
            key,
            attempt,
            epoch,
            _time_ms(event.started.start_time.seconds * 1000 + event.started.start_time.nanos // 1_000_000),
        )
    if kind == "progress":
        return ev.TaskProgressed(key, attempt, epoch, event.progress.ratio, event.progress.message[:1000])
    if kind == "retracted":
        return ev.TaskRetracted(key, attempt, epoch)
    if kind == "suspended":
        return ev.TaskSuspended(key, attempt, epoch)
    if kind == "resumed":
        return ev.TaskResumed(key, attempt, epoch)
    if kind == "modified":
        return ev.TaskModified(key, attempt, epoch, event.modified.revision, _fields(event.modified))
    reason = event.rejected.message or event.rejected.reason or "unknown report"
    return ev.TaskRejected(key, attempt, epoch, reason[:1000])


def _fields(modified: pb.TaskModified) -> tuple[tuple[str, bool, str], ...]:
    applied = task_pb2.FIELD_VERDICT_KIND_APPLIED
    return tuple((field.path, field.kind == applied, field.message[:1000]) for field in modified.fields)


def _exited(key: int, attempt: int, epoch: int, exited: pb.TaskExited) -> ev.TaskExited:
    cause = Cause.NONE
    if exited.HasField("error"):
        cause = _CAUSES.get(exited.error.cause) or Cause.ERROR
    return ev.TaskExited(
        key,
        attempt,
        epoch,
        cause,
        exited.SerializeToString(),
        _time_ms(exited.start_time_ms),
        _time_ms(exited.end_time_ms),
    )


def verdict(said: Verdict) -> pb.Verdict:
    return pb.Verdict(task_id=format_task_id(said.key), attempt=said.attempt, kind=_VERDICTS[said.kind])


def add_command(batch: pb.Commands, command: Command, bodies: set[int], sign: SignTask) -> int:
    """Appends a command, and its specification if this stream has not seen it; returns about how many bytes."""
    task_id = format_task_id(command.key)
    if isinstance(command, StartTask):
        spec = command.spec
        added = 0
        if spec.number not in bodies:
            added = len(spec.body)
            bodies.add(spec.number)
            batch.bodies.add(body=spec.number, spec=spec.body, account=command.account)
        # Filled in place: building a message and copying it in costs three times as much.
        start = batch.commands.add().start
        start.task_id = task_id
        start.attempt = command.attempt
        start.epoch = command.epoch
        start.body = spec.number
        start.params_json = command.params
        start.prefill = command.is_prefill
        start.array_index = index_of(command.key)
        start.gpu_devices.extend(command.devices)
        if spec.has_token:
            start.task_token = sign(command.key, command.attempt, command.epoch, command.account)
        return 64 + len(command.params) + added
    if isinstance(command, RetractTask):
        batch.commands.add(retract=pb.RetractTask(task_id=task_id, attempt=command.attempt))
        return 64
    if isinstance(command, ModifyTask):
        modify = pb.ModifyTask(
            task_id=task_id,
            attempt=command.attempt,
            revision=command.revision,
            params_json=command.params,
            run_timeout_ms=command.run_timeout_ms,
        )
        for change in command.attachments:
            modify.attachments.add(path=change.path, digest=change.digest, is_directory=change.is_directory)
        if command.body:
            modify.resources.CopyFrom(task_pb2.TaskSpec.FromString(command.body).resources)
            modify.resources.SetInParent()
        batch.commands.add(modify=modify)
        return 64 + len(command.params)
    if isinstance(command, SuspendTask):
        batch.commands.add(suspend=pb.SuspendTask(task_id=task_id, attempt=command.attempt))
        return 64
    if isinstance(command, ResumeTask):
        batch.commands.add(resume=pb.ResumeTask(task_id=task_id, attempt=command.attempt))
        return 64
    batch.commands.add(
        stop=pb.StopTask(
            task_id=task_id,
            attempt=command.attempt,
            grace_ms=command.grace_ms,
            cause=task_pb2.TaskCause.ValueType(command.cause),
            signal=command.signal,
            message=command.message,
        )
    )
    return 64 + len(command.message)
