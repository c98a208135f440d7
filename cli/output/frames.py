"""Deployments and frames in words: the columns and fields of the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.output.nouns import age
from modelyard.quantities import format_duration, format_size
from modelyard.v1 import deployment_pb2 as pb

if TYPE_CHECKING:
    from cli.output.render import Columns


def state_of(one: pb.Deployment) -> str:
    """One word."""
    return pb.DeploymentState.Name(one.state).removeprefix("DEPLOYMENT_STATE_").lower()


def frame_state(one: pb.Frame) -> str:
    """One word."""
    return pb.FrameState.Name(one.state).removeprefix("FRAME_STATE_").lower()


def routes_of(one: pb.Deployment) -> str:
    """For example iris:champion 90, iris:4 10."""
    shown = [
        f"{route.model}:{route.version or 'champion'}" + (f" {route.weight}" if len(one.routes) > 1 else "")
        for route in one.routes
    ]
    if one.HasField("mirror"):
        shown.append(f"mirror {one.mirror.model}:{one.mirror.version or 'champion'} {one.mirror.ratio:.0%}")
    return ", ".join(shown)


def _instances(one: pb.Deployment) -> str:
    least = one.settings.min_instances
    return f"{least} warm" if least else "when called"


def _why(one: pb.Deployment | pb.Frame) -> str:
    return one.message or one.reason


def version_of(one: pb.Frame) -> str:
    """For example iris 3."""
    return f"{one.model} {one.version}"


def line_of(one: pb.Frame) -> str:
    """What is to be said of it while it is loaded."""
    where = f" on {one.node}" if one.node else ""
    said = f"{one.id} {version_of(one)} {frame_state(one)}{where}"
    if one.state == pb.FRAME_STATE_READY:
        return f"{said}: loaded in {format_duration(one.load_s)}, {format_size(one.memory_bytes)}"
    return said + (f": {_why(one)}" if _why(one) else "")


DEPLOYMENT_COLUMNS: Columns = [
    ("NAME", lambda one: one.name),
    ("STATE", state_of),
    ("ROUTES", routes_of),
    ("FRAMES", _instances),
    ("CHANGED", lambda one: age(one.change_time)),
    ("WHY", _why),
]

DEPLOYMENT_FIELDS: Columns = [
    ("name", lambda one: one.name),
    ("state", lambda one: state_of(one) + (f": {_why(one)}" if _why(one) else "")),
    ("routes", routes_of),
    ("frames", _instances),
    ("sticky by", lambda one: one.sticky_parameter or "the account"),
    ("account", lambda one: one.account),
    ("revision", lambda one: str(one.revision)),
    ("changed", lambda one: age(one.change_time)),
]

FRAME_COLUMNS: Columns = [
    ("FRAME", lambda one: one.id),
    ("MODEL", version_of),
    ("STATE", frame_state),
    ("NODE", lambda one: one.node),
    ("MEMORY", lambda one: format_size(one.memory_bytes)),
    ("CALLS", lambda one: str(one.call_count) + (f" ({one.active_count} now)" if one.active_count else "")),
    ("LAST", lambda one: age(one.last_call_time)),
    ("RESTARTS", lambda one: str(one.restart_count or "")),
    ("WHY", _why),
]

FRAME_FIELDS: Columns = [
    ("frame", lambda one: one.id),
    ("model", version_of),
    ("state", lambda one: frame_state(one) + (f": {_why(one)}" if _why(one) else "")),
    ("node", lambda one: one.node + (f" ({one.placement_reason})" if one.placement_reason else "")),
    ("runtime", lambda one: one.runtime),
    ("memory", lambda one: format_size(one.memory_bytes)),
    ("loaded in", lambda one: format_duration(one.load_s)),
    ("calls", lambda one: str(one.call_count)),
    ("task", lambda one: one.task_id),
]
