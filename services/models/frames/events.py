"""What can happen to frames and deployments. Facts in the past tense; numbers of `reply` are the engine's. Pure."""

from __future__ import annotations

import msgspec

from services.models.frames.model import Settings, Shape
from services.models.frames.state import Deployment, Frame, MirrorWish, RouteWish, Target
from services.models.seams import VersionKey


class FrameRecovered(msgspec.Struct, frozen=True):
    """From the database."""

    frame: Frame


class DeploymentRecovered(msgspec.Struct, frozen=True):
    """From the database."""

    deployment: Deployment


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody says what is to be served under a name."""

    reply: int
    name: str
    account: str
    routes: tuple[RouteWish, ...]
    mirror: MirrorWish | None
    sticky: str
    settings: Settings
    targets: tuple[Target, ...]


class Modified(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody changes it; None: as it is."""

    reply: int
    name: str
    account: str
    revision: int
    """Of the deployment as it was seen; 0: any."""
    routes: tuple[RouteWish, ...] | None = None
    mirror: MirrorWish | None = None
    without_mirror: bool = False
    sticky: str | None = None
    settings: Settings | None = None
    targets: tuple[Target, ...] = ()
    """Of the routes as they are then."""
    comment: str = ""


class RolledBack(msgspec.Struct, frozen=True):
    """The weights as they were before they were last changed."""

    reply: int
    name: str
    account: str
    comment: str
    targets: tuple[Target, ...] = ()
    """Of the routes as they were before."""


class Undeployed(msgspec.Struct, frozen=True):
    reply: int
    name: str
    account: str


class TargetsFound(msgspec.Struct, frozen=True):
    """What its routes come to by now: an alias has moved, a configuration was changed."""

    name: str
    wish_revision: int
    targets: tuple[Target, ...]


class Wanted(msgspec.Struct, frozen=True):
    """A caller waits for a frame of this version; `is_held`: it is loaded by hand."""

    shape: Shape
    until_ms: int
    node: str = ""
    is_held: bool = False


class MoreWanted(msgspec.Struct, frozen=True):
    """All frames of this version are busy."""

    shape: Shape


class UnloadWanted(msgspec.Struct, frozen=True):
    """Somebody asks these to end."""

    reply: int
    frames: tuple[int, ...]


class RoomFound(msgspec.Struct, frozen=True):
    """By what the scheduler says, the frame would be placed if these others ended."""

    frame: int
    others: tuple[int, ...]


class SeatAccepted(msgspec.Struct, frozen=True):
    frame: int
    batch: int
    task: str


class SeatRefused(msgspec.Struct, frozen=True):
    """It never will be placed."""

    frame: int
    batch: int
    message: str


class SeatOpened(msgspec.Struct, frozen=True):
    """Its files and its environment are there; `address` is where its process is to listen."""

    frame: int
    task: str
    node: str
    address: str
    directory: str
    ports: dict[str, int]


class PlacementTold(msgspec.Struct, frozen=True):
    """Why the scheduler chose its node, in words."""

    frame: int
    why: str


class SeatStands(msgspec.Struct, frozen=True):
    """Its agent was met again; `epoch`: of the process that was started last, which runs or has ended."""

    frame: int
    task: str
    epoch: int
    runs: bool


class Listening(msgspec.Struct, frozen=True):
    """Its process takes connections."""

    frame: int
    task: str
    epoch: int


class ImageComing(msgspec.Struct, frozen=True):
    """Its container's image is not on its node, and is pulled."""

    frame: int
    task: str
    epoch: int
    message: str


class ProcessEnded(msgspec.Struct, frozen=True, kw_only=True):
    frame: int
    task: str
    epoch: int
    cause: str
    message: str
    last_lines: tuple[str, ...] = ()
    trouble: tuple[str, str, str] | None = None
    """Code, field and message where there was no frame at all: another start would end alike."""


class SeatEnded(msgspec.Struct, frozen=True, kw_only=True):
    """The task that held its place has ended."""

    frame: int
    task: str
    cause: str
    """Of the contract's words, such as SETUP, NODE_LOST, CANCELLED; empty: it was closed."""
    message: str = ""


class MemorySeen(msgspec.Struct, frozen=True):
    frame: int
    epoch: int
    memory_bytes: int


class FrameLoaded(msgspec.Struct, frozen=True):
    """The frame says so itself."""

    frame: int
    load_s: float
    memory_bytes: int


class FrameRefused(msgspec.Struct, frozen=True):
    """The frame says that it cannot."""

    frame: int
    reason: str
    message: str
    code: str
    field: str


class FrameGone(msgspec.Struct, frozen=True):
    """Its connection is lost and does not come back."""

    frame: int
    why: str


class Drained(msgspec.Struct, frozen=True):
    """It has answered what it had."""

    frame: int


class Outdated(msgspec.Struct, frozen=True):
    """What it was to load is not there any more."""

    frame: int
    message: str


class VersionGone(msgspec.Struct, frozen=True):
    """It was deleted: nobody is to load it any more, and its frames end once they have answered."""

    key: VersionKey
    message: str


class BecameIdle(msgspec.Struct, frozen=True):
    """The last call in it was answered, and somebody waits for room."""

    key: VersionKey


class Ticked(msgspec.Struct, frozen=True):
    """Time has passed."""


Event = (
    FrameRecovered
    | DeploymentRecovered
    | Deployed
    | Modified
    | RolledBack
    | Undeployed
    | TargetsFound
    | Wanted
    | MoreWanted
    | UnloadWanted
    | RoomFound
    | SeatAccepted
    | SeatRefused
    | SeatOpened
    | PlacementTold
    | SeatStands
    | Listening
    | ImageComing
    | ProcessEnded
    | SeatEnded
    | MemorySeen
    | FrameLoaded
    | FrameRefused
    | FrameGone
    | Drained
    | Outdated
    | VersionGone
    | BecameIdle
    | Ticked
)
