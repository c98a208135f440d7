"""Specifications as they come in: decoded, checked, and reduced to what placement reads (the edge for ``TaskSpec``).

Every refusal names the field by its path in the request, and says what to do next. Nothing here changes state.
"""

import math
import re
from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration

from modelyard.amounts import CALLS_SERVICES, cpu_of
from modelyard.v1 import task_pb2
from services.scheduler.intake import attachments, conduct, images, seats
from services.scheduler.intake.asked_params import settle_params
from services.scheduler.model import (
    MAIN_QUEUE,
    MOST_ELEMENTS,
    Cause,
    Disconnect,
    DisconnectMode,
    Policy,
    Reconciliation,
    Retry,
    Shape,
    Spec,
)
from services.scheduler.notify import notices
from services.scheduler.refusals import invalid
from services.scheduler.resources import CPU, GPU, MEMORY, Amounts, amounts

INLINE_BYTES_MOST = 64 << 10
# A task must fit into a message many times over, with its result.
SPEC_BYTES_MOST = 1 << 20
REQUIREMENTS_BYTES_MOST = 64 << 10
PRIORITY_MOST = 1000
CAPS_MOST = 16
MODIFY_SIGNALS = ("SIGHUP", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGWINCH")
CHECKPOINT_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")
PREEMPTION_GRACE_MS = 30_000
MOST_PREEMPTION_GRACE_MS = 600_000
DIGEST = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_PYTHON = re.compile(r"3(\.[0-9]{1,3}){1,2}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


def convert(spec: task_pb2.TaskSpec, account: str, field: str) -> Spec:
    """The specification in the scheduler's own terms, as yet without a number. Raises `InvalidSpec`."""
    kind = spec.WhichOneof("work")
    if kind is None:
        raise invalid(f"{field}.work", "it says nothing to run", "set operator or command")
    operator = _operator(spec, field) if kind == "operator" else ""
    if kind == "command":
        _check_argv(spec, field)
    elif kind == "seat":
        seats.check(spec, field)
    images.check(spec, f"{field}.environment")
    settle_params(spec, field)
    _check_rest(spec, field)
    _check_size(spec, field)
    ways = conduct.convert(spec, field)
    shape = Shape(
        account=account,
        amounts=_amounts(spec.resources, f"{field}.resources", cpu_of(operator)),
        node=spec.placement.node,
        labels=tuple(sorted({**spec.placement.labels, **images.labels(spec)}.items())),
        policy=Policy(spec.placement.policy or Policy.LEAST_LOADED),
        operator=operator,
        priority=spec.priority,
        queue=_queue(spec.queue, f"{field}.queue"),
        caps=_caps(spec.concurrency_caps, f"{field}.concurrency_caps"),
        pool=spec.placement.pool,
        gang=spec.gang.name,
        is_distinct=spec.placement.distinct_nodes,
        avoid=seats.avoided(spec.placement, f"{field}.placement"),
    )
    return Spec(
        number=0,
        body=spec.SerializeToString(deterministic=True),
        shape=shape,
        name=spec.name,
        retry=_retry(spec.retry, f"{field}.retry"),
        queue_timeout_ms=_milliseconds(spec.timeouts.queue_timeout, f"{field}.timeouts.queue_timeout"),
        array_size=spec.array_size,
        hold=spec.hold,
        has_token=kind != "operator" or operator.startswith(CALLS_SERVICES),
        digests=_digests(spec, field),
        disconnect=_disconnect(spec.disconnect, f"{field}.disconnect"),
        run_timeout_ms=_milliseconds(spec.timeouts.run_timeout, f"{field}.timeouts.run_timeout"),
        quote=spec.placement.quote,
        dependencies=ways.dependencies,
        array_indexes=ways.array_indexes,
        max_running=ways.max_running,
        max_fails=ways.max_fails,
        is_at_most_once=ways.is_at_most_once,
        notice=notices.of_task(spec.notification, field) if spec.HasField("notification") else None,
        gang_min=spec.gang.min_count,
        is_preemptible=spec.preemption.preemptible,
        preempts=spec.preemption.preempts,
        preemption_grace_ms=_preemption_grace_ms(spec, field),
        checkpoint_signal=spec.preemption.checkpoint_signal,
    )


def _operator(spec: task_pb2.TaskSpec, field: str) -> str:
    """The name that nodes must offer; empty where the bundle or the environment brings the function."""
    name = spec.operator.operator
    if not name or len(name) > 256 or any(c.isspace() for c in name):
        raise invalid(
            f"{field}.operator.operator",
            f"{name[:80]!r} is not an operator's name",
            "see `yard operators ls`",
        )
    return "" if ":" in name else name


def _check_size(spec: task_pb2.TaskSpec, field: str) -> None:
    size = spec.ByteSize()
    if size > SPEC_BYTES_MOST:
        raise invalid(
            field,
            f"{size} bytes are more than {SPEC_BYTES_MOST}",
            "put inputs into the store (`yard artifacts put`) and give their digests",
        )


def _check_argv(spec: task_pb2.TaskSpec, field: str) -> None:
    argv = spec.command.argv
    if not argv or not argv[0]:
        raise invalid(f"{field}.command.argv", "it is empty", "give the program and its arguments")
    if any("\0" in word for word in argv):
        raise invalid(f"{field}.command.argv", "an argument contains a NUL character")
    if spec.command.modify_signal not in ("", *MODIFY_SIGNALS):
        raise invalid(
            f"{field}.command.modify_signal",
            f"{spec.command.modify_signal[:80]!r} is not a signal that tells of a change",
            f"choose of {', '.join(MODIFY_SIGNALS)}",
        )


def _amounts(resources: task_pb2.Resources, field: str, cpu: float) -> Amounts:
    values = {CPU: resources.cpu if resources.HasField("cpu") else cpu}
    values |= {MEMORY: float(resources.memory_bytes), GPU: resources.gpu}
    for name, value in resources.custom.items():
        if not NAME.fullmatch(name) or name in (CPU, MEMORY, GPU):
            raise invalid(f"{field}.custom", f"{name[:80]!r} is not a name for a custom resource")
        values[name] = value
    for name, value in values.items():
        if not math.isfinite(value) or value < 0 or value > 1e15:
            raise invalid(
                f"{field}.{name}", f"{value} is not an amount", "amounts are finite and not negative"
            )
    if resources.gpu > 1 and resources.gpu != int(resources.gpu):
        raise invalid(
            f"{field}.gpu", f"{resources.gpu} devices", "a share is below 1; above it devices are whole"
        )
    limit = resources.cpu_limit
    if resources.HasField("cpu_limit") and not (math.isfinite(limit) and values[CPU] <= limit <= 1e15):
        raise invalid(f"{field}.cpu_limit", f"{limit:g} is less than the {values[CPU]:g} cores that it holds")
    return amounts(values)


def _queue(name: str, field: str) -> str:
    if name and not NAME.fullmatch(name):
        raise invalid(field, f"{name[:80]!r} is not a queue's name", "see `yard queues ls`")
    return name or MAIN_QUEUE


def _caps(caps: Sequence[task_pb2.ConcurrencyCap], field: str) -> tuple[tuple[str, int], ...]:
    if len(caps) > CAPS_MOST:
        raise invalid(field, f"{len(caps)} caps are more than {CAPS_MOST}")
    found: dict[str, int] = {}
    for index, cap in enumerate(caps):
        path = f"{field}[{index}]"
        if not NAME.fullmatch(cap.key):
            raise invalid(
                f"{path}.key", f"{cap.key[:80]!r} is not a key", "letters, digits, '_', '-' and '.'"
            )
        if cap.max_running < 1:
            raise invalid(f"{path}.max_running", f"{cap.max_running} is not a number of tasks from 1")
        if cap.key in found:
            raise invalid(f"{path}.key", f"{cap.key} has a cap already", "give each key one cap")
        found[cap.key] = cap.max_running
    return tuple(sorted(found.items()))


def _check_rest(spec: task_pb2.TaskSpec, field: str) -> None:
    if abs(spec.priority) > PRIORITY_MOST:
        raise invalid(
            f"{field}.priority", f"{spec.priority} is not within −{PRIORITY_MOST} … {PRIORITY_MOST}"
        )
    if not 0 <= spec.array_size <= MOST_ELEMENTS:
        raise invalid(f"{field}.array_size", f"{spec.array_size} is not within 0 … {MOST_ELEMENTS}")
    if spec.placement.policy not in (0, *Policy):
        raise invalid(f"{field}.placement.policy", f"{spec.placement.policy} is not a policy")
    if spec.placement.pool and not NAME.fullmatch(spec.placement.pool):
        raise invalid(
            f"{field}.placement.pool",
            f"{spec.placement.pool[:80]!r} is not a pool's name",
            "see `yard nodes ls`",
        )
    if len(spec.environment.requirements) > REQUIREMENTS_BYTES_MOST:
        raise invalid(f"{field}.environment.requirements", f"longer than {REQUIREMENTS_BYTES_MOST} bytes")
    if spec.environment.python and not _PYTHON.fullmatch(spec.environment.python):
        raise invalid(
            f"{field}.environment.python", f"{spec.environment.python[:40]!r} is not a version such as 3.12"
        )
    for name in (*spec.env, *spec.inputs):
        if not NAME.fullmatch(name):
            raise invalid(
                f"{field}.env" if name in spec.env else f"{field}.inputs", f"{name[:80]!r} is not a name"
            )
    for name in spec.env:
        if name.startswith("YARD_") or "\0" in spec.env[name]:
            raise invalid(
                f"{field}.env", f"{name} cannot be set", "names that begin with YARD_ are the yard's own"
            )
    for glob in spec.outputs:
        if not glob or glob.startswith("/") or ".." in glob.split("/"):
            raise invalid(
                f"{field}.outputs", f"{glob[:80]!r} leaves the working directory", "use a glob below it"
            )
    if spec.parameter_env and not VARIABLE.fullmatch(spec.parameter_env):
        raise invalid(
            f"{field}.parameter_env", f"{spec.parameter_env[:80]!r} is not a name",
            "give NAME of a variable MODELYARD_PARAM_NAME: up to 100 letters, digits and '_'",
        )  # fmt: skip
    _milliseconds(spec.timeouts.start_timeout, f"{field}.timeouts.start_timeout")
    _check_quote(spec, field)
    _check_gang(spec, field)


def _preemption_grace_ms(spec: task_pb2.TaskSpec, field: str) -> int:
    wish, path = spec.preemption, f"{field}.preemption"
    if wish.checkpoint_signal not in ("", *CHECKPOINT_SIGNALS):
        raise invalid(
            f"{path}.checkpoint_signal", f"{wish.checkpoint_signal[:80]!r} does not ask for a checkpoint",
            f"choose of {', '.join(CHECKPOINT_SIGNALS)}",
        )  # fmt: skip
    if wish.checkpoint_signal and spec.WhichOneof("work") != "command":
        raise invalid(
            f"{path}.checkpoint_signal", "an operator gets no signal", "its context says that it is cancelled"
        )
    if not wish.preemptible and (wish.HasField("grace") or wish.checkpoint_signal):
        raise invalid(
            f"{path}.preemptible", "only what may be interrupted has a grace and a signal", "set preemptible"
        )
    if (wish.preemptible or wish.preempts) and spec.gang.name:
        raise invalid(path, "members of a gang neither preempt nor are preempted", "leave one of the two out")
    grace_ms = _milliseconds(wish.grace, f"{path}.grace") if wish.HasField("grace") else PREEMPTION_GRACE_MS
    if grace_ms > MOST_PREEMPTION_GRACE_MS:
        raise invalid(f"{path}.grace", f"it is longer than {MOST_PREEMPTION_GRACE_MS // 60_000} minutes")
    return grace_ms if wish.preemptible else 0


def _check_gang(spec: task_pb2.TaskSpec, field: str) -> None:
    gang = spec.gang
    if spec.placement.distinct_nodes and not spec.array_size and not gang.name:
        raise invalid(
            f"{field}.placement.distinct_nodes", "one task has nothing to keep apart from",
            "it is for the elements of an array and the members of a gang",
        )  # fmt: skip
    if not spec.HasField("gang"):
        return
    if not NAME.fullmatch(gang.name):
        raise invalid(f"{field}.gang.name", f"{gang.name[:80]!r} is not a gang's name")
    if not 0 <= gang.min_count <= spec.array_size:
        raise invalid(
            f"{field}.gang.min_count", f"{gang.min_count} is not within the array's {spec.array_size} elements",
            "it says how many elements of an array must start together; 0: all",
        )  # fmt: skip
    most = spec.array_limits.max_running
    if most and most < (gang.min_count or spec.array_size):
        raise invalid(
            f"{field}.array_limits.max_running", f"{most} elements at a time are fewer than must start together",
            "raise it, or lower gang.min_count",
        )  # fmt: skip
    if any(dependency.element_wise for dependency in spec.dependencies):
        raise invalid(
            f"{field}.dependencies", "elements that start together cannot each wait for another",
            "let the whole array wait: element_wise = false",
        )  # fmt: skip


def _check_quote(spec: task_pb2.TaskSpec, field: str) -> None:
    """A quote says where, and that is now."""
    placement, path = spec.placement, f"{field}.placement.quote"
    if not placement.quote:
        return
    if placement.node or placement.labels or placement.policy:
        raise invalid(path, "the quote says already where it goes", "leave node, labels and policy out")
    if spec.hold or spec.dependencies:
        raise invalid(path, "it takes the quoted capacity at once", "leave hold and dependencies out")


def _milliseconds(duration: Duration, field: str) -> int:
    if duration.seconds < 0 or duration.nanos < 0 or duration.seconds > 10 * 365 * 86_400:
        raise invalid(field, "it is not a time from 0 to 10 years")
    return duration.seconds * 1000 + duration.nanos // 1_000_000


def _retry(retry: task_pb2.RetryPolicy, field: str) -> Retry:
    if not 0 <= retry.max_attempts <= 1_000_000:
        raise invalid(f"{field}.max_attempts", f"{retry.max_attempts} is not a number of attempts")
    causes = [cause for cause in retry.on if cause not in {int(c) for c in Cause}]
    if causes:
        raise invalid(f"{field}.on", f"{causes[0]} is not a cause")
    on = frozenset(Cause(cause) for cause in retry.on if cause)
    return Retry(max(retry.max_attempts, 1), _milliseconds(retry.backoff, f"{field}.backoff"), on)


def _disconnect(wish: task_pb2.Disconnect, field: str) -> Disconnect:
    if wish.mode not in (0, *DisconnectMode):
        raise invalid(f"{field}.mode", f"{wish.mode} is not a mode")
    if wish.reconciliation not in (0, *Reconciliation):
        raise invalid(f"{field}.reconciliation", f"{wish.reconciliation} is not a rule")
    made = Disconnect(
        DisconnectMode(wish.mode or DisconnectMode.REPLACE),
        _milliseconds(wish.lost_after, f"{field}.lost_after"),
        Reconciliation(wish.reconciliation or Reconciliation.KEEP_REPLACEMENT),
    )
    if wish.reconciliation and made.mode is DisconnectMode.STOP:
        raise invalid(
            f"{field}.reconciliation", "with mode STOP nothing is left that could come back",
            "leave it out, or choose the mode REPLACE",
        )  # fmt: skip
    if wish.reconciliation and made.mode is DisconnectMode.KEEP and not made.lost_after_ms:
        raise invalid(
            f"{field}.reconciliation", "with mode KEEP and no lost_after nothing is ever replaced",
            "leave it out, or set lost_after",
        )  # fmt: skip
    return made


def _digests(spec: task_pb2.TaskSpec, field: str) -> tuple[str, ...]:
    found = []
    for name, source in spec.inputs.items():
        path = f"{field}.inputs[{name!r}]"
        kind = source.WhichOneof("source")
        if kind is None:
            raise invalid(path, "it has neither data nor digest")
        if kind == "digest":
            found.append(_digest(source.digest, f"{path}.digest"))
        elif len(source.data) > INLINE_BYTES_MOST:
            next_step = "put it into the store (`yard artifacts put`) and give its digest"
            raise invalid(
                f"{path}.data", f"{len(source.data)} bytes are more than {INLINE_BYTES_MOST}", next_step
            )
    if spec.bundle_digest:
        found.append(_digest(spec.bundle_digest, f"{field}.bundle_digest"))
    found += attachments.check(spec.attachments, f"{field}.attachments")
    return tuple(sorted(set(found)))


def _digest(text: str, field: str) -> str:
    if not DIGEST.fullmatch(text):
        raise invalid(field, f"{text[:80]!r} is not a sha256 digest", "64 lower-case hexadecimal digits")
    return text
