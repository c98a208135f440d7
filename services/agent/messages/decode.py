"""A TaskSpec as the agent needs it: decoded once, everything that does not differ per task worked out."""

from __future__ import annotations

import hashlib
import math
import signal
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from modelyard.amounts import CPU, cpu_of
from modelyard.v1 import task_pb2
from services.agent.tasks.model import (
    UNITS,
    Attachment,
    Body,
    CheckpointRules,
    Holding,
    LimitSet,
    Pool,
    Resources,
    SeatPlace,
)

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct

THREADS = "OMP_NUM_THREADS"
DEVICES = "CUDA_VISIBLE_DEVICES"


def decode_body(number: int, account: str, spec_bytes: bytes, task_pids: int = 0) -> Body:
    """The body of a specification. Raises DecodeError of protobuf for what is none."""
    spec = task_pb2.TaskSpec.FromString(spec_bytes)
    is_seat = spec.HasField("seat")
    is_command = is_seat or spec.HasField("command")
    cpu, most_cpu = _cores(spec.resources, cpu_of(spec.operator.operator))
    env = dict(spec.env)
    image = spec.environment.image if is_command else ""
    environment = environment_key(spec.environment.requirements, spec.environment.python)
    inputs = {name: _source(item) for name, item in spec.inputs.items()}
    attachments = attachments_of(spec.attachments)
    return Body(
        number,
        account,
        is_command,
        _label(spec),
        _pool(account, environment, spec, env, cpu),
        resources=_resources(spec.resources, cpu),
        needs=_needs(account, environment, image, spec.bundle_digest, inputs, attachments),
        staged=is_seat
        or bool(attachments or spec.parameter_env)
        or (is_command and bool(spec.bundle_digest or inputs or spec.environment.image)),
        keeps_outputs=bool(spec.outputs),
        start_timeout_ms=spec.timeouts.start_timeout.ToMilliseconds(),
        run_timeout_ms=spec.timeouts.run_timeout.ToMilliseconds(),
        silent_most_ms=_silent_most_ms(spec.disconnect),
        modify_signal=_signal(spec.command.modify_signal),
        limits=LimitSet(
            most_cpu,
            spec.resources.memory_bytes,
            task_pids if is_command else 0,
            whole_worker=not is_command,
        ),
        argv=tuple(spec.command.argv),
        env=env,
        params_json=spec.params_json or _json(spec.params),
        inputs=inputs,
        values=frozenset(name for name, item in spec.inputs.items() if item.is_value),
        parameter_env=spec.parameter_env,
        attachments=attachments,
        outputs=tuple(spec.outputs),
        requirements=spec.environment.requirements,
        environment=environment,
        python=spec.environment.python,
        is_compiled=spec.environment.is_compiled,
        image=image,
        network=spec.environment.network,
        bundle=spec.bundle_digest,
        threads=max(1, math.ceil(max(cpu, most_cpu))),
        is_alone=is_seat or spec.delivery == task_pb2.DELIVERY_AT_MOST_ONCE,
        seat=_place(spec.seat) if is_seat else None,
    )


def _label(spec: task_pb2.TaskSpec) -> str:
    if spec.HasField("seat"):
        return f"seat of {spec.seat.job_id}"
    return spec.command.argv[0] if spec.HasField("command") else spec.operator.operator


def _place(seat: task_pb2.SeatWork) -> SeatPlace:
    ports = tuple((port.name, port.low, port.high) for port in seat.ports)
    rules = None
    if seat.HasField("checkpoints"):
        said = seat.checkpoints
        rules = CheckpointRules(said.directory, said.match, said.marker, said.settle_ms)
    return SeatPlace(seat.job_id, seat.role, seat.index, ports, seat.endpoint, seat.forward, rules)


def _silent_most_ms(wish: task_pb2.Disconnect) -> int | None:
    return wish.lost_after.ToMilliseconds() if wish.mode == task_pb2.DISCONNECT_MODE_STOP else None


def _signal(name: str) -> int:
    """The scheduler lets only names of signals pass; one that is unknown here is none."""
    return int(signal.Signals[name]) if name in signal.Signals.__members__ else 0


def environment_key(requirements: str, python: str = "") -> str:
    """The name of the environment that these requirements make with this Python, or another; "" for none."""
    own = ".".join(map(str, sys.version_info[:3]))
    is_own = not python or own == python or own.startswith(f"{python}.")
    if not requirements.strip() and is_own:
        return ""
    version = own if is_own else python
    return hashlib.sha256(f"{version}\n{requirements}".encode()).hexdigest()[:24]


def pool_of(body: Body, gpu_devices: tuple[str, ...]) -> Pool:
    """The pool of a task with devices: a worker that sees exactly these."""
    variables = dict(body.pool.variables)
    variables[DEVICES] = ",".join(device_number(device) for device in gpu_devices)
    return msgspec.structs.replace(body.pool, variables=tuple(sorted(variables.items())))


def device_number(device: str) -> str:
    """ "0" of "0", or of "0:0.5" where only a share of it is meant."""
    return device.partition(":")[0]


def _pool(account: str, environment: str, spec: task_pb2.TaskSpec, env: dict[str, str], cpu: float) -> Pool:
    if spec.HasField("command"):
        # A command runs in a process of its own; what runs it needs nothing of its environment.
        return Pool(account)
    if spec.HasField("seat"):
        # Unless processes are to be forked from what keeps the seat.
        imports, threads = tuple(spec.seat.imports), ((THREADS, str(max(1, math.ceil(cpu)))),)
        return Pool(account, environment, "", threads, imports) if imports else Pool(account)
    if cpu > 1:
        env = {THREADS: str(math.ceil(cpu)), **env}
    return Pool(account, environment, spec.bundle_digest, tuple(sorted(env.items())))


def _resources(asked: task_pb2.Resources, cpu: float) -> Resources:
    amounts = {"cpu": round(cpu * UNITS), "memory": asked.memory_bytes, "gpu": round(asked.gpu * UNITS)}
    for name, amount in asked.custom.items():
        amounts[name] = round(amount * UNITS)
    return tuple(sorted((name, amount) for name, amount in amounts.items() if amount > 0))


def attachments_of(attachments: Iterable[task_pb2.Attachment]) -> tuple[Attachment, ...]:
    """As the specification, or a change of it, has them."""
    return tuple(Attachment(item.path, item.digest, item.is_directory) for item in attachments)


def need_of(account: str, attachment: Attachment) -> str:
    """What has to be fetched for it: a file as an input, a directory as a bundle."""
    return f"{'bundle' if attachment.is_directory else 'input'}:{account}:{attachment.digest}"


def holding_of(asked: task_pb2.Resources) -> Holding:
    """What these resources come to; whose limits they are, and those of processes, the task's own body knows."""
    cpu, most_cpu = _cores(asked, CPU)
    return Holding(_resources(asked, cpu), LimitSet(most_cpu, asked.memory_bytes))


def _cores(asked: task_pb2.Resources, unsaid: float) -> tuple[float, float]:
    """What it holds, and what it may use at most; 0: as much as there is."""
    cpu = asked.cpu if asked.HasField("cpu") else unsaid
    if asked.HasField("cpu_limit"):
        return cpu, asked.cpu_limit
    return cpu, asked.cpu if asked.HasField("cpu") else 0.0


def _needs(
    account: str,
    environment: str,
    image: str,
    bundle: str,
    inputs: dict[str, bytes | str],
    attachments: tuple[Attachment, ...],
) -> tuple[str, ...]:
    needs = [f"input:{account}:{source}" for source in inputs.values() if isinstance(source, str)]
    needs += [need_of(account, attachment) for attachment in attachments]
    if bundle:
        needs.append(f"bundle:{account}:{bundle}")
    if environment:
        needs.append(f"environment:{account}:{environment}")
    if image:
        # Of the engine, which knows no accounts.
        needs.append(f"image:{image}")
    return tuple(sorted(set(needs)))


def _source(item: task_pb2.Input) -> bytes | str:
    return item.digest if item.HasField("digest") else item.data


def _json(params: Struct) -> str:
    """A Struct knows only floating numbers; whole ones are whole again."""
    if not params.fields:
        return ""
    from google.protobuf.json_format import MessageToDict

    return msgspec.json.encode(_whole(MessageToDict(params))).decode()


def _whole(value: object) -> object:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {name: _whole(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value
