"""What this room speaks about: frames and deployments in the contract's words, and every reason to refuse. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

from services.chassis.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from services.models.seams import VersionKey

DEFAULT_MEMORY = 512 << 20
"""Of a frame of which nobody says how much it takes."""


class FrameState(Enum):
    """How far a frame is, or how it ended."""

    PENDING = "pending"
    """It waits for memory, then for a place."""
    LOADING = "loading"
    """Its seat is open; its process is started, or will be again."""
    READY = "ready"
    DRAINING = "draining"
    """No new calls; when it has answered what it has its place is given back."""
    ENDED = "ended"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self in (FrameState.ENDED, FrameState.FAILED)

    @property
    def serves(self) -> bool:
        """It takes calls, or will without anybody's doing."""
        return self in (FrameState.PENDING, FrameState.LOADING, FrameState.READY)


TRANSITIONS: Mapping[FrameState, frozenset[FrameState]] = {
    FrameState.PENDING: frozenset({FrameState.LOADING, FrameState.ENDED, FrameState.FAILED}),
    FrameState.LOADING: frozenset(
        {FrameState.READY, FrameState.DRAINING, FrameState.ENDED, FrameState.FAILED}
    ),
    FrameState.READY: frozenset(
        {FrameState.LOADING, FrameState.DRAINING, FrameState.ENDED, FrameState.FAILED}
    ),
    FrameState.DRAINING: frozenset({FrameState.ENDED}),
    FrameState.ENDED: frozenset(),
    FrameState.FAILED: frozenset(),
}


class DeploymentState(Enum):
    """Whether what it asks for is there."""

    LOADING = "loading"
    READY = "ready"
    DEGRADED = "degraded"
    FAILED = "failed"
    UNDEPLOYED = "undeployed"


class Resources(msgspec.Struct, frozen=True):
    """Laid over what model.yaml says."""

    cpu: float | None = None
    memory_bytes: int = 0
    gpu: float = 0.0
    custom: dict[str, float] = {}


class Place(msgspec.Struct, frozen=True):
    """Where frames may be."""

    node: str = ""
    pool: str = ""
    labels: dict[str, str] = {}
    policy: int = 0
    """As the scheduler numbers them."""
    avoid: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Laid over what model.yaml says of serving; None: as there."""

    min_instances: int | None = None
    max_instances: int | None = None
    idle_unload_s: float | None = None
    max_batch: int | None = None
    batch_delay_ms: float | None = None
    queue_most: int | None = None
    deadline_s: float | None = None
    batch_apart: bool | None = None
    resources: Resources | None = None
    placement: Place | None = None
    runtime: str = ""

    def over(self, below: Settings) -> Settings:
        """These where they say something, those where not."""
        said = {
            name: value
            for name in self.__struct_fields__
            if (value := getattr(self, name)) is not None and value != ""
        }
        return msgspec.structs.replace(below, **said)


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a frame of a version takes, and how many of them there may be."""

    key: VersionKey
    account: str
    memory_bytes: int
    most: int = 1
    idle_s: float = 0.0
    """Unused for so long it ends; 0: never."""
    runtime: str = "environment"
    resources: Resources = Resources()
    placement: Place = Place()


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a version could not be loaded the last time."""

    reason: str
    message: str
    code: str = ""
    field: str = ""
    count: int = 1
    """In a row."""
    until_ms: int = 0
    """Not tried again before."""


class FrameUnloadable(FailedPrecondition):
    """The model cannot be loaded."""


class NoRoom(ResourceExhausted):
    """There is no room for the model."""


class DeploymentNotFound(NotFound):
    """There is no such deployment, or it is not yours to see."""


class DeploymentTaken(FailedPrecondition):
    """The name belongs to somebody else's deployment or model."""


class DeploymentStale(Aborted):
    """The deployment has changed since."""


class NothingBefore(FailedPrecondition):
    """The weights of this deployment have never been changed."""


class WeightsGone(FailedPrecondition):
    """The versions that the deployment had before are not there any more."""


class FrameKept(FailedPrecondition):
    """A deployment keeps it loaded."""


class RouteInvalid(InvalidArgument):
    """The routes of a deployment contradict themselves."""
