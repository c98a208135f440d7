"""Tasks and nodes in words: the columns and fields of the tables."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from modelyard.client.outcomes import ENDED, cause_name, state_name
from modelyard.quantities import format_duration, format_size
from modelyard.v1 import account_pb2, node_pb2, task_pb2

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from cli.output.render import Columns


def counted(count: int, noun: str) -> str:
    """ "1 node", "2 nodes"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def age(moment: Timestamp) -> str:
    """How long ago."""
    return format_duration(time.time() - moment.seconds - moment.nanos / 1e9) if moment.seconds else ""


def clock(moment: Timestamp) -> str:
    """ISO 8601, UTC, seconds."""
    return moment.ToJsonString() if moment.seconds else ""


def work(task: task_pb2.Task) -> str:
    """What a task runs, in a few words."""
    import shlex

    if task.spec.WhichOneof("work") == "command":
        return shlex.join(task.spec.command.argv)
    if task.spec.WhichOneof("work") == "seat":
        return f"{task.spec.seat.role} of {task.spec.seat.job_id}"
    return task.spec.operator.operator


def ran(task: task_pb2.Task) -> str:
    """How long it has run."""
    if not task.start_time.seconds:
        return ""
    end_s = task.end_time.seconds + task.end_time.nanos / 1e9 if task.state in ENDED else time.time()
    return format_duration(end_s - task.start_time.seconds - task.start_time.nanos / 1e9)


def reason(task: task_pb2.Task) -> str:
    """Why it is in its state."""
    if task.error.cause:
        return cause_name(task.error.cause) + (f": {task.error.message}" if task.error.message else "")
    if task.array.size:
        array = task.array
        counts = f"{array.succeeded_count} succeeded, {array.failed_count} failed"
        return f"{counts}, {array.active_count} active of {array.size}"
    if task.progress.ratio or task.progress.message:
        share = f"{task.progress.ratio:.0%} " if task.progress.ratio else ""
        return f"{share}{task.progress.message}".strip()
    return task.detail.message or task.detail.reason


def verdict_rows(verdicts: Iterable[task_pb2.FieldVerdict]) -> list[list[str]]:
    """What became of each field of a modification."""
    prefix = "FIELD_VERDICT_KIND_"
    return [
        [v.path, task_pb2.FieldVerdictKind.Name(v.kind).removeprefix(prefix).lower(), v.message]
        for v in verdicts
    ]


TASK_COLUMNS: Columns = (
    ("ID", lambda task: task.id),
    ("STATE", lambda task: state_name(task.state)),
    ("NODE", lambda task: task.node),
    ("AGE", lambda task: age(task.submit_time)),
    ("RAN", ran),
    ("WORK", lambda task: (task.name or work(task))[:40]),
    ("REASON", reason),
)


def _given_parameters(task: task_pb2.Task) -> str:
    """What parameter_env has given, or will give."""
    given = task.usage.given_parameters
    if not given.variable:
        return task.spec.parameter_env and f"MODELYARD_PARAM_{task.spec.parameter_env}"
    return f"{given.variable}: {given.params_json or f'sha256:{given.digest}'}"


def _container(task: task_pb2.Task) -> str:
    """What it runs in, if that is not the node itself."""
    asked = task.spec.environment
    return f"{asked.image}, network {asked.network or 'none'}" if asked.image else ""


TASK_FIELDS: Columns = (
    ("id", lambda task: task.id),
    ("name", lambda task: task.name),
    ("state", lambda task: state_name(task.state)),
    ("reason", reason),
    ("work", work),
    ("container", _container),
    ("params", lambda task: task.spec.params_json),
    ("params of the agent", _given_parameters),
    ("after", lambda task: "\n".join(dependency_line(one) for one in task.spec.dependencies)),
    ("node", lambda task: task.node),
    ("attempt", lambda task: str(task.attempt or "")),
    ("account", lambda task: task.account),
    ("submitted", lambda task: clock(task.submit_time)),
    ("started", lambda task: clock(task.start_time)),
    ("ended", lambda task: clock(task.end_time)),
    ("ran", ran),
    ("result", lambda task: task.result.value_json),
    ("outputs", lambda task: "\n".join(output_line(output) for output in task.result.outputs)),
    ("traceback", lambda task: task.error.traceback),
    ("next", lambda task: task.error.next_step),
    ("cpu time", lambda task: format_duration(task.usage.cpu_time_s) if task.usage.cpu_time_s else ""),
    (
        "peak memory",
        lambda task: format_size(task.usage.memory_peak_bytes) if task.usage.memory_peak_bytes else "",
    ),
    ("limits by", lambda task: task.usage.enforcement),
    ("history", lambda task: "\n".join(change_line(change) for change in task.history)),
)


def output_line(output: task_pb2.Output) -> str:
    """A kept file."""
    return f"{output.name}  {format_size(output.size_bytes)}  sha256:{output.digest}"


def dependency_line(dependency: task_pb2.Dependency) -> str:
    """What it waits for, or waited for: "t-3 succeeded"."""
    name = (
        task_pb2.DependencyCondition.Name(dependency.condition).removeprefix("DEPENDENCY_CONDITION_").lower()
    )
    condition = "succeeded" if name == "unspecified" else name
    return f"{dependency.task_id} {condition}" + (", element by element" if dependency.element_wise else "")


def change_line(change: task_pb2.TaskChange) -> str:
    """One step of a task's history."""
    where = f" on {change.node}" if change.node else ""
    why = change.detail.message or change.detail.reason
    return f"{clock(change.change_time)}  {state_name(change.state)}{where}" + (f": {why}" if why else "")


def node_state(state: node_pb2.NodeState.ValueType) -> str:
    """ "ready" for NODE_STATE_READY."""
    return node_pb2.NodeState.Name(state).removeprefix("NODE_STATE_").lower()


def labels(node: node_pb2.Node) -> str:
    """k=v, sorted."""
    return ",".join(f"{key}={value}" for key, value in sorted(node.labels.items()))


NODE_COLUMNS: Columns = (
    ("NODE", lambda node: node.id),
    ("STATE", lambda node: node_state(node.state)),
    ("CPU", lambda node: f"{node.capacity.cpu:g}"),
    ("MEMORY", lambda node: format_size(node.capacity.memory_bytes)),
    ("GPU", lambda node: str(len(node.capacity.gpu_devices))),
    ("RUNNING", lambda node: str(node.running_count)),
    ("BEAT", lambda node: age(node.last_beat_time)),
    ("LABELS", labels),
    ("DETAIL", lambda node: node.detail),
)

NODE_FIELDS: Columns = (
    ("node", lambda node: node.id),
    ("state", lambda node: node_state(node.state)),
    ("detail", lambda node: node.detail),
    ("pool", lambda node: node.pool),
    ("drained by", lambda node: clock(node.drain_deadline_time)),
    ("labels", labels),
    ("cpu", lambda node: f"{node.capacity.cpu:g}"),
    ("memory", lambda node: format_size(node.capacity.memory_bytes)),
    ("gpus", lambda node: ", ".join(node.capacity.gpu_devices)),
    ("custom", lambda node: ", ".join(f"{k}={v:g}" for k, v in sorted(node.capacity.custom.items()))),
    ("running", lambda node: str(node.running_count)),
    ("waiting there", lambda node: str(node.prefilled_count or "")),
    ("operators", lambda node: ", ".join(sorted(node.operators))),
    ("last beat", lambda node: clock(node.last_beat_time)),
    ("connected", lambda node: clock(node.connect_time)),
    ("agent", lambda node: node.agent_version),
    ("limits by", lambda node: node.enforcement),
)


def room_line(room: node_pb2.QuotedRoom) -> str:
    """What is held on which node for one task."""
    held = room.resources
    words = [f"{held.cpu:g} cpu"] if held.cpu else []
    words += [f"{format_size(held.memory_bytes)} memory"] if held.memory_bytes else []
    words += [f"gpu {', '.join(room.gpu_devices)} ({held.gpu:g})"] if held.gpu else []
    words += [f"{amount:g} {name}" for name, amount in sorted(held.custom.items())]
    return f"{room.node}  {', '.join(words)}"


QUOTE_FIELDS: Columns = (
    ("quote", lambda quote: quote.id),
    ("holds", lambda quote: "\n".join(room_line(room) for room in quote.rooms)),
    ("until", lambda quote: clock(quote.expire_time)),
)


def bar(ratio: float, width: int = 12) -> str:
    """A ratio as a bar and a percentage."""
    filled = round(min(max(ratio, 0.0), 1.0) * width)
    return "█" * filled + "░" * (width - filled) + f" {ratio:4.0%}"


def role(value: account_pb2.Role.ValueType) -> str:
    """ "admin" for ROLE_ADMIN."""
    return account_pb2.Role.Name(value).removeprefix("ROLE_").lower()
