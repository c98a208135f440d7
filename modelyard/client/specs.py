"""Specifications from plain Python values: the same words as the command line.

Owns the translation into `TaskSpec`; it does no I/O. Sizes are bytes or text such as "512Mi", times are
seconds or text such as "10m".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, TypeVar

import msgspec
from google.protobuf.duration_pb2 import Duration

from modelyard.errors import YardError
from modelyard.quantities import parse_duration, parse_size
from modelyard.v1 import task_pb2

POLICIES = {
    "least-loaded": task_pb2.PLACEMENT_POLICY_LEAST_LOADED,
    "binpack": task_pb2.PLACEMENT_POLICY_BINPACK,
    "spread": task_pb2.PLACEMENT_POLICY_SPREAD,
}
CONDITIONS = {
    "after": task_pb2.DEPENDENCY_CONDITION_SUCCEEDED,
    "after_any": task_pb2.DEPENDENCY_CONDITION_ENDED,
    "after_failed": task_pb2.DEPENDENCY_CONDITION_FAILED,
    "after_start": task_pb2.DEPENDENCY_CONDITION_STARTED,
}
"""What must have happened to a task that another one waits for, by option."""
DISCONNECT_MODES = {
    "replace": task_pb2.DISCONNECT_MODE_REPLACE,
    "keep": task_pb2.DISCONNECT_MODE_KEEP,
    "stop": task_pb2.DISCONNECT_MODE_STOP,
}
RECONCILIATIONS = {
    "keep-replacement": task_pb2.RECONCILIATION_KEEP_REPLACEMENT,
    "keep-original": task_pb2.RECONCILIATION_KEEP_ORIGINAL,
    "best-score": task_pb2.RECONCILIATION_BEST_SCORE,
    "longest-running": task_pb2.RECONCILIATION_LONGEST_RUNNING,
}
CAUSES = {
    name.removeprefix("TASK_CAUSE_").lower(): number
    for name, number in task_pb2.TaskCause.items()
    if number != task_pb2.TASK_CAUSE_UNSPECIFIED
}


EVENTS = {
    "success": [task_pb2.NOTIFICATION_EVENT_SUCCEEDED],
    "failure": [task_pb2.NOTIFICATION_EVENT_FAILED],
    "both": [task_pb2.NOTIFICATION_EVENT_SUCCEEDED, task_pb2.NOTIFICATION_EVENT_FAILED],
    "gates": [task_pb2.NOTIFICATION_EVENT_GATE_WAITING],
}
ValueT = TypeVar("ValueT")


class Options(TypedDict, total=False):
    """Where and how a task runs; every key is optional."""

    name: str
    node: str
    pool: str
    node_labels: Mapping[str, str]
    quote: str
    distinct_nodes: bool
    policy: str
    cpu: float
    memory: int | str
    gpu: float
    custom: Mapping[str, float]
    requirements: str
    # A command runs in a container of this image; its network is "none" or "bridge".
    image: str
    network: str
    bundle_digest: str
    env: Mapping[str, str]
    outputs: Sequence[str]
    priority: int
    queue: str
    # At most so many tasks of the account with this key run at a time.
    caps: Mapping[str, int]
    array_size: int
    gang: str
    gang_min: int
    preemptible: bool
    preempts: bool
    preemption_grace: float | str
    checkpoint_signal: str
    retries: int
    retry_backoff: float | str
    retry_on: Sequence[str]
    timeout: float | str
    queue_timeout: float | str
    start_timeout: float | str
    labels: Mapping[str, str]
    hold: bool
    on_disconnect: str
    lost_after: float | str
    reconcile: str
    modify_signal: str
    # NAME of a variable MODELYARD_PARAM_NAME of the agent that gives further parameters.
    param_env: str
    # Ids of tasks or arrays that must have succeeded, ended, failed or started first.
    after: Sequence[str]
    after_any: Sequence[str]
    after_failed: Sequence[str]
    after_start: Sequence[str]
    elementwise: bool
    array_indexes: str
    max_running: int
    max_fails: int
    at_most_once: bool
    contact: str
    notify: str
    silent: bool


class InvalidSpecification(YardError):
    """A specification that cannot be sent; `field` names what to change."""

    def __init__(self, message: str, field: str, next_step: str = "") -> None:
        super().__init__(
            message,
            code="INVALID_ARGUMENT",
            reason="INVALID_SPECIFICATION",
            field=field,
            next_step=next_step,
        )


def encode_params(params: Mapping[str, Any]) -> str:
    """A JSON object. Raises InvalidSpecification for a value that JSON cannot say."""
    try:
        return msgspec.json.encode(params).decode()
    except (TypeError, ValueError) as error:
        raise InvalidSpecification(f"parameters must be JSON values: {error}", "params") from error


def operator_spec(operator: str, options: Options | None = None) -> task_pb2.TaskSpec:
    """A call of an operator, without its parameters and inputs."""
    spec = task_pb2.TaskSpec(operator=task_pb2.OperatorWork(operator=operator))
    return _apply(spec, options or {})


def command_spec(argv: Sequence[str], options: Options | None = None) -> task_pb2.TaskSpec:
    """A process. Raises InvalidSpecification for an empty command."""
    if isinstance(argv, str) or not argv:
        raise InvalidSpecification("a command is a list of words and has at least one", "command.argv")
    spec = task_pb2.TaskSpec(command=task_pb2.CommandWork(argv=[str(word) for word in argv]))
    return _apply(spec, options or {})


def _apply(spec: task_pb2.TaskSpec, options: Options) -> task_pb2.TaskSpec:
    unknown = set(options) - set(Options.__annotations__)
    if unknown:
        raise InvalidSpecification(f"there is no option {min(unknown)!r}", min(unknown))
    spec.name = options.get("name", "")
    spec.bundle_digest = options.get("bundle_digest", "")
    spec.priority = options.get("priority", 0)
    spec.queue = options.get("queue", "")
    for key, most in options.get("caps", {}).items():
        spec.concurrency_caps.add(key=key, max_running=most)
    spec.array_size = options.get("array_size", 0)
    if options.get("preemptible") or options.get("preempts"):
        spec.preemption.preemptible = options.get("preemptible", False)
        spec.preemption.preempts = options.get("preempts", False)
    if "preemption_grace" in options:
        spec.preemption.grace.CopyFrom(duration(options["preemption_grace"], "preemption.grace"))
    if options.get("checkpoint_signal"):
        spec.preemption.checkpoint_signal = options["checkpoint_signal"]
    if options.get("gang") or options.get("gang_min"):
        spec.gang.name = options.get("gang") or "gang"
        spec.gang.min_count = options.get("gang_min", 0)
    spec.hold = options.get("hold", False)
    spec.parameter_env = options.get("param_env", "")
    spec.outputs.extend(options.get("outputs", ()))
    spec.env.update(options.get("env", {}))
    spec.labels.update(options.get("labels", {}))
    if options.get("modify_signal"):
        spec.command.modify_signal = options["modify_signal"]
    if options.get("requirements"):
        spec.environment.requirements = options["requirements"]
    if options.get("image") or options.get("network"):
        spec.environment.image = options.get("image", "")
        spec.environment.network = options.get("network", "")
    told = notification(
        options.get("contact", ""), options.get("notify", ""), silent=options.get("silent", False)
    )
    if told is not None:
        spec.notification.CopyFrom(told)
    _apply_resources(spec.resources, options)
    _apply_placement(spec.placement, options)
    _apply_disconnect(spec, options)
    _apply_conduct(spec, options)
    _apply_order(spec, options)
    return spec


def place(resources: task_pb2.Resources, placement: task_pb2.Placement, options: Options) -> None:
    """Amounts and place alone, for what asks for room without work."""
    _apply_resources(resources, options)
    _apply_placement(placement, options)


def _apply_resources(resources: task_pb2.Resources, options: Options) -> None:
    if "cpu" in options:
        resources.cpu = options["cpu"]
    if "memory" in options:
        resources.memory_bytes = _size(options["memory"])
    if "gpu" in options:
        resources.gpu = options["gpu"]
    if options.get("custom"):
        resources.custom.update(options["custom"])


def _apply_placement(placement: task_pb2.Placement, options: Options) -> None:
    if options.get("node"):
        placement.node = options["node"]
    if options.get("pool"):
        placement.pool = options["pool"]
    if options.get("node_labels"):
        placement.labels.update(options["node_labels"])
    if options.get("quote"):
        placement.quote = options["quote"]
    if options.get("distinct_nodes"):
        placement.distinct_nodes = True
    if policy := options.get("policy", ""):
        placement.policy = _word(POLICIES, policy, "placement.policy")


def _apply_disconnect(spec: task_pb2.TaskSpec, options: Options) -> None:
    if mode := options.get("on_disconnect", ""):
        spec.disconnect.mode = _word(DISCONNECT_MODES, mode, "disconnect.mode")
    if rule := options.get("reconcile", ""):
        spec.disconnect.reconciliation = _word(RECONCILIATIONS, rule, "disconnect.reconciliation")
    if "lost_after" in options:
        spec.disconnect.lost_after.CopyFrom(duration(options["lost_after"], "disconnect.lost_after"))


def _word(words: Mapping[str, ValueT], word: str, field: str) -> ValueT:
    if word not in words:
        raise InvalidSpecification(f"{word!r} is none of {', '.join(words)}", field)
    return words[word]


def _apply_conduct(spec: task_pb2.TaskSpec, options: Options) -> None:
    if options.get("retries"):
        spec.retry.max_attempts = options["retries"] + 1
    if "retry_backoff" in options:
        spec.retry.backoff.CopyFrom(duration(options["retry_backoff"], "retry.backoff"))
    for cause in options.get("retry_on", ()):
        if cause not in CAUSES:
            raise InvalidSpecification(f"{cause!r} is no cause; choose of {', '.join(CAUSES)}", "retry.on")
        spec.retry.on.append(CAUSES[cause])
    for key, target in (
        ("timeout", "run_timeout"),
        ("queue_timeout", "queue_timeout"),
        ("start_timeout", "start_timeout"),
    ):
        if key in options:
            getattr(spec.timeouts, target).CopyFrom(duration(options[key], f"timeouts.{target}"))  # type: ignore[literal-required]


def _apply_order(spec: task_pb2.TaskSpec, options: Options) -> None:
    for key, condition in CONDITIONS.items():
        for task_id in options.get(key, ()):  # type: ignore[attr-defined]
            spec.dependencies.add(
                task_id=task_id, condition=condition, element_wise=options.get("elementwise", False)
            )
    if options.get("elementwise") and not spec.dependencies:
        raise InvalidSpecification("elementwise says nothing without after", "dependencies")
    spec.array_indexes = options.get("array_indexes", "")
    if "max_running" in options:
        spec.array_limits.max_running = options["max_running"]
    if "max_fails" in options:
        spec.array_limits.max_fails = options["max_fails"]
    if options.get("at_most_once"):
        spec.delivery = task_pb2.DELIVERY_AT_MOST_ONCE


def events(words: str, field: str) -> list[task_pb2.NotificationEvent.ValueType]:
    """What is to be told: "success", "failure", "both" ends, "gates" that wait, or several of them with commas between;
    empty: nothing is named. Raises InvalidSpecification."""
    found: dict[task_pb2.NotificationEvent.ValueType, None] = {}
    for word in filter(None, (word.strip() for word in words.split(","))):
        if word not in EVENTS:
            raise InvalidSpecification(f"{word!r} is nothing to be told; choose {', '.join(EVENTS)}", field)
        found.update(dict.fromkeys(EVENTS[word]))
    return list(found)


def notification(contact: str, notify: str, *, silent: bool) -> task_pb2.Notification | None:
    """Who is told of what; None: nothing is said of it. Raises InvalidSpecification."""
    if not (contact or notify or silent):
        return None
    return task_pb2.Notification(contact=contact, on=events(notify, "notification.on"), silent=silent)


def duration(value: float | str, field: str) -> Duration:
    """A protobuf duration of seconds, or of text such as "10m"."""
    try:
        seconds = parse_duration(value) if isinstance(value, str) else float(value)
    except ValueError as error:
        raise InvalidSpecification(str(error), field) from error
    whole = int(seconds)
    return Duration(seconds=whole, nanos=round((seconds - whole) * 1e9))


def _size(value: int | str) -> int:
    try:
        return parse_size(value) if isinstance(value, str) else int(value)
    except ValueError as error:
        raise InvalidSpecification(str(error), "resources.memory_bytes") from error
