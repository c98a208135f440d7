"""Deployments and frames as messages, and what is asked for as values (the edge)."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.v1 import deployment_pb2 as pb
from modelyard.v1 import task_pb2
from services.chassis.errors import InvalidArgument
from services.models.frames.model import DeploymentState, FrameState, Place, Resources, RouteInvalid, Settings
from services.models.frames.state import Deployment, Frame, MirrorWish, RouteWish

ROUTES_MOST = 32
STATES = {state: pb.FrameState.Value(f"FRAME_STATE_{state.name}") for state in FrameState}
DEPLOYMENT_STATES = {
    state: pb.DeploymentState.Value(f"DEPLOYMENT_STATE_{state.name}") for state in DeploymentState
}
RUNTIMES = ("", "environment", "container")


class SettingInvalid(InvalidArgument):
    """A setting has no meaning."""


def frame_message(frame: Frame) -> pb.Frame:
    """As it is now."""
    key = frame.key
    message = pb.Frame(
        id=f"f-{frame.number}", model=key.model, version=key.version, config_revision=key.config_revision,
        state=STATES[frame.state], reason=frame.reason, message=frame.message, node=frame.at_node or frame.node,
        task_id=frame.task or frame.last_task, runtime=frame.shape.runtime,
        memory_bytes=frame.memory_bytes or frame.shape.memory_bytes, active_count=frame.active,
        call_count=frame.call_count, restart_count=frame.restarts, load_s=frame.load_s,
        placement_reason=frame.placed_because,
    )  # fmt: skip
    _stamp(message.load_time, frame.ready_ms)
    _stamp(message.last_call_time, frame.last_call_ms)
    return message


def deployment_message(one: Deployment) -> pb.Deployment:
    """As it is now; its revision is that of the last wish, by which `ModifyDeployment` may be bound."""
    message = pb.Deployment(
        name=one.name, account=one.account, state=DEPLOYMENT_STATES[one.state], reason=one.reason,
        message=one.message, sticky_parameter=one.sticky, revision=one.wish_revision,
        routes=[pb.DeploymentRoute(model=r.model, version=r.version, weight=r.weight) for r in one.routes],
    )  # fmt: skip
    if one.mirror is not None:
        message.mirror.model, message.mirror.version = one.mirror.model, one.mirror.version
        message.mirror.ratio = one.mirror.ratio
    message.settings.CopyFrom(settings_message(one.settings))
    _stamp(message.create_time, one.create_ms)
    _stamp(message.change_time, one.change_ms)
    return message


def _stamp(stamp: Timestamp, time_ms: int) -> None:
    if time_ms:
        stamp.FromMilliseconds(time_ms)


_PLAIN = (
    "min_instances", "max_instances", "idle_unload_s", "max_batch", "batch_delay_ms", "queue_most", "deadline_s",
    "batch_apart",
)  # fmt: skip


def settings_message(settings: Settings) -> pb.ServingSettings:
    """What is said, and no more."""
    said = {name: value for name in _PLAIN if (value := getattr(settings, name)) is not None}
    message = pb.ServingSettings(runtime=settings.runtime or None, **said)
    if (resources := settings.resources) is not None:
        message.resources.CopyFrom(
            task_pb2.Resources(
                cpu=resources.cpu,
                memory_bytes=resources.memory_bytes,
                gpu=resources.gpu,
                custom=resources.custom,
            )
        )
    if (place := settings.placement) is not None:
        message.placement.CopyFrom(
            task_pb2.Placement(
                node=place.node,
                pool=place.pool,
                labels=place.labels,
                avoid_nodes=place.avoid,
                policy=place.policy,  # type: ignore[arg-type]
            )
        )
    return message


def settings_of(message: pb.ServingSettings, field: str = "settings") -> Settings:
    """Raises SettingInvalid."""
    said = {name: getattr(message, name) for name in _PLAIN if message.HasField(name)}  # type: ignore[arg-type]
    for name, value in said.items():
        if value < 0 or value != value:
            raise SettingInvalid(f"{name}: {value} is less than nothing", field=f"{field}.{name}")
    runtime = message.runtime if message.HasField("runtime") else ""
    if runtime not in RUNTIMES:
        raise SettingInvalid(
            f"runtime: {runtime[:40]!r} is neither environment nor container", field=f"{field}.runtime"
        )
    least, most = said.get("min_instances"), said.get("max_instances")
    if least is not None and most is not None and most < least:
        raise SettingInvalid(
            f"max_instances: {most} are less than min_instances, {least}", field=f"{field}.max_instances"
        )
    return Settings(
        **said,
        runtime=runtime,
        resources=_resources(message.resources) if message.HasField("resources") else None,
        placement=_place(message.placement) if message.HasField("placement") else None,
    )


def _resources(message: task_pb2.Resources) -> Resources:
    return Resources(
        cpu=message.cpu if message.HasField("cpu") else None, memory_bytes=message.memory_bytes, gpu=message.gpu,
        custom=dict(message.custom),
    )  # fmt: skip


def _place(message: task_pb2.Placement) -> Place:
    return Place(
        node=message.node, pool=message.pool, labels=dict(message.labels), policy=int(message.policy),
        avoid=tuple(message.avoid_nodes),
    )  # fmt: skip


def routes_of(messages: Sequence[pb.DeploymentRoute]) -> tuple[RouteWish, ...]:
    """Raises RouteInvalid."""
    if not messages:
        raise RouteInvalid("a deployment has one route at least", field="routes")
    if len(messages) > ROUTES_MOST:
        raise RouteInvalid(f"{len(messages)} routes are more than {ROUTES_MOST}", field="routes")
    found = tuple(RouteWish(one.model, one.version, one.weight) for one in messages)
    for number, route in enumerate(found):
        if not route.model:
            raise RouteInvalid("which model?", field=f"routes[{number}].model")
        if not 0 <= route.weight <= 1_000_000:
            raise RouteInvalid(
                f"{route.weight} is no weight", field=f"routes[{number}].weight", next_step="0 … 1000000"
            )
    if len({(one.model, one.version) for one in found}) < len(found):
        raise RouteInvalid("two routes name the same version", field="routes", next_step="add their weights")
    if len(found) == 1 and not found[0].weight:
        return (RouteWish(found[0].model, found[0].version, 1),)
    if not any(one.weight for one in found):
        raise RouteInvalid("no route has a weight", field="routes")
    return found


def mirror_of(message: pb.DeploymentMirror) -> MirrorWish:
    """Raises RouteInvalid."""
    if not 0 <= message.ratio <= 1:
        raise RouteInvalid(f"{message.ratio} is not within 0 … 1", field="mirror.ratio")
    if not message.model:
        raise RouteInvalid("which model?", field="mirror.model")
    return MirrorWish(message.model, message.version, message.ratio)
