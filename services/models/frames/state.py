"""What is loaded, what is asked for, and what it is asked for by. Pure.

Frames and deployments are written whole whenever they changed; demands are callers' who wait in this process, and are
not on disk.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from services.chassis.errors import InvariantViolation
from services.models.frames.model import DeploymentState, Failure, FrameState, Settings, Shape
from services.models.seams import VersionKey


class Frame(msgspec.Struct, kw_only=True):
    """A component that is loaded, or on its way to be."""

    number: int
    shape: Shape
    node: str = ""
    """Where it has to be; empty: anywhere."""
    state: FrameState = FrameState.PENDING
    reason: str = ""
    message: str = ""
    batch: int = 0
    """The submission of its seat that was not answered."""
    task: str = ""
    """The task that holds its seat, until that has ended."""
    last_task: str = ""
    at_node: str = ""
    """Where its seat is open."""
    address: str = ""
    """Where its process listens."""
    directory: str = ""
    ports: dict[str, int] = {}
    epoch: int = 0
    """How often its process was started."""
    is_held: bool = False
    """Somebody loaded it by hand: it does not end because nobody calls it."""
    is_closing: bool = False
    """Its place is to be given back."""
    closed_ms: int = 0
    """When that was last asked for."""
    deaths: int = 0
    """In a row, without a good time between them."""
    restarts: int = 0
    again_ms: int = 0
    """Its process is started again then; 0: it is started."""
    lost_ms: int = 0
    """Its connection is lost though it runs, since then; 0: it is not."""
    until_ms: int = 0
    """Until then it is wanted although nobody waits for it: others of its version are busy."""
    create_ms: int = 0
    since_ms: int = 0
    submit_ms: int = 0
    launch_ms: int = 0
    ready_ms: int = 0
    end_ms: int = 0
    last_call_ms: int = 0
    call_count: int = 0
    load_s: float = 0.0
    memory_bytes: int = 0
    """As it says itself, or as its agent sees it."""
    placed_because: str = ""
    revision: int = 0
    # Not of the past: see `as_recovered`.
    active: int = 0
    """Calls in it."""
    is_connected: bool = False
    is_listening: bool = False

    @property
    def key(self) -> VersionKey:
        return self.shape.key

    @property
    def holds(self) -> bool:
        """Whether it has, or may yet get, a place."""
        return bool(self.batch or self.task)

    @property
    def is_waiting(self) -> bool:
        """For memory: nothing was asked of the scheduler."""
        return self.state is FrameState.PENDING and not self.holds

    @property
    def is_ending(self) -> bool:
        """Its memory comes back without anybody's doing."""
        return self.holds and (self.is_closing or not self.state.serves)

    def as_recovered(self) -> Frame:
        """After a start: nobody calls it, nobody is connected to it."""
        return msgspec.structs.replace(self, active=0, is_connected=False, is_listening=False, lost_ms=0)


class RouteWish(msgspec.Struct, frozen=True):
    """A share of the calls, as it was asked for."""

    model: str
    version: str
    weight: int


class MirrorWish(msgspec.Struct, frozen=True):
    """Calls that are sent there as well."""

    model: str
    version: str
    ratio: float


class Target(msgspec.Struct, frozen=True):
    """What a route comes to at the moment; `shape` None: `problem` says why to nothing."""

    shape: Shape | None
    problem: str = ""

    @property
    def key(self) -> VersionKey | None:
        return self.shape.key if self.shape is not None else None


class Weights(msgspec.Struct, frozen=True):
    """What a rollback goes back to."""

    routes: tuple[RouteWish, ...]
    mirror: MirrorWish | None


class Deployment(msgspec.Struct, kw_only=True):
    """A name that calls use."""

    name: str
    account: str
    routes: tuple[RouteWish, ...]
    mirror: MirrorWish | None = None
    sticky: str = ""
    settings: Settings = Settings()
    state: DeploymentState = DeploymentState.LOADING
    reason: str = ""
    message: str = ""
    before: Weights | None = None
    targets: tuple[Target, ...] = ()
    """Of the routes, and of the mirror after them."""
    standby: dict[str, VersionKey] = {}
    """By the name of what a route comes to: what it came to before, which answers until the new one is ready."""
    create_ms: int = 0
    change_ms: int = 0
    revision: int = 0
    wish_revision: int = 0
    """Of the last change that somebody asked for."""

    @property
    def weights(self) -> Weights:
        return Weights(self.routes, self.mirror)

    def wanted(self) -> Iterator[tuple[Shape, int]]:
        """Versions that it needs, with how many of each are kept warm: a share of the minimum, one at least."""
        least = self.settings.min_instances
        total = sum(route.weight for route in self.routes)
        for number, target in enumerate(self.targets):
            if target.shape is None:
                continue
            if number >= len(self.routes):
                yield target.shape, min(1, least or 0)
            elif weight := self.routes[number].weight:
                share = max(1, round((least or 0) * weight / total)) if least else 0
                yield target.shape, min(share, target.shape.most)


def name_of(key: VersionKey) -> str:
    """For dictionaries that are written down."""
    return f"{key.model}/{key.version}/{key.config_revision}"


class Demand(msgspec.Struct):
    """Callers wait for a frame of a version; of a node where one was named."""

    shape: Shape
    node: str
    until_ms: int
    is_held: bool = False


class State:
    """Everything that is not over."""

    def __init__(
        self, *, next_frame: int = 1, next_batch: int = 1, revision: int = 0, budget_bytes: int = 0
    ) -> None:
        self.frames: dict[int, Frame] = {}
        self.deployments: dict[str, Deployment] = {}
        self.undeployed: dict[str, Deployment] = {}
        """As they were last, until the service ends."""
        self.demands: dict[tuple[VersionKey, str], Demand] = {}
        self.failures: dict[VersionKey, Failure] = {}
        self.budget_bytes = budget_bytes
        """What frames may hold together; 0: what the nodes have."""
        self.next_frame = next_frame
        self.next_batch = next_batch
        self.revision = revision
        self.changed: dict[int, Frame] = {}
        self.changed_deployments: dict[str, Deployment] = {}

    def of(self, key: VersionKey) -> list[Frame]:
        """Its frames that serve or will, oldest first."""
        return [
            one for one in self.frames.values() if one.key == key and one.state.serves and not one.is_closing
        ]

    def ready(self, key: VersionKey) -> list[Frame]:
        """Those that take calls."""
        return [one for one in self.of(key) if one.state is FrameState.READY]

    @property
    def held_bytes(self) -> int:
        """What all frames hold, or may hold the next moment."""
        return sum(one.shape.memory_bytes for one in self.frames.values() if one.holds)


def check_invariants(state: State) -> None:
    """Raises InvariantViolation where the state contradicts itself. For tests."""
    if state.budget_bytes and state.held_bytes > state.budget_bytes:
        raise InvariantViolation(f"{state.held_bytes} bytes are held of {state.budget_bytes}")
    tasks = [one.task for one in state.frames.values() if one.task]
    if len(tasks) != len(set(tasks)):
        raise InvariantViolation("two frames have one seat")
    for number, frame in state.frames.items():
        if frame.state in (FrameState.LOADING, FrameState.READY) and not (frame.task and frame.address):
            raise InvariantViolation(f"f-{number} is {frame.state.value} and has no place")
        if frame.state is FrameState.DRAINING and not frame.task:
            raise InvariantViolation(f"f-{number} drains and has no place")
        if frame.state.is_over and frame.holds and not frame.is_closing:
            raise InvariantViolation(f"f-{number} is over and keeps its place")
        if frame.is_connected and not frame.state.serves and frame.state is not FrameState.DRAINING:
            raise InvariantViolation(f"f-{number} is {frame.state.value} and takes calls")
        if frame.batch and frame.task:
            raise InvariantViolation(f"f-{number} waits for a seat that it has")
