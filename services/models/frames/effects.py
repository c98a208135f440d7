"""What the machine wants done: rows to persist first, and what may leave after that. Pure."""

from __future__ import annotations

import msgspec

from services.chassis.errors import ServiceError
from services.models.frames.model import Failure
from services.models.frames.state import Deployment, Frame
from services.models.seams import VersionKey


class PutFrame(msgspec.Struct, frozen=True):
    frame: Frame


class PutDeployment(msgspec.Struct, frozen=True):
    deployment: Deployment


class InsertChange(msgspec.Struct, frozen=True):
    """What somebody asked for; never changed afterwards."""

    deployment: Deployment
    account: str
    what: str
    comment: str
    time_ms: int


class InsertBatch(msgspec.Struct, frozen=True):
    """A seat is asked for. The engine adds the request, with its id, before the commit."""

    batch: int
    frame: int


class DropBatch(msgspec.Struct, frozen=True):
    """It was answered."""

    batch: int


Row = PutFrame | PutDeployment | InsertChange | InsertBatch | DropBatch


class CancelSeat(msgspec.Struct, frozen=True):
    """The task of a seat that is not wanted any more, wherever it is. Asked again until it has ended."""

    frame: int
    account: str
    task: str


class Launch(msgspec.Struct, frozen=True):
    """Its process; the same epoch again changes nothing."""

    frame: int


class Stop(msgspec.Struct, frozen=True):
    """Its process is killed: it runs, and cannot be reached."""

    frame: int
    task: str
    node: str
    epoch: int


class CloseSeat(msgspec.Struct, frozen=True):
    task: str
    node: str
    message: str
    is_failure: bool


class OpenDoor(msgspec.Struct, frozen=True):
    """It is to be connected to."""

    frame: int


class DrainDoor(msgspec.Struct, frozen=True):
    """It gets no new calls; `Drained` says that it has answered the others."""

    frame: int


class CloseDoor(msgspec.Struct, frozen=True):
    frame: int
    why: str


Wish = CancelSeat | Launch | Stop | CloseSeat | OpenDoor | DrainDoor | CloseDoor


class Answer(msgspec.Struct, frozen=True):
    """To whoever asked with a number."""

    reply: int
    error: ServiceError | None = None


class Refusal(msgspec.Struct, frozen=True):
    """Nobody needs to wait any longer for a frame of this version, on this node where one was named."""

    key: VersionKey
    node: str
    failure: Failure


class Effects:
    """What one step wants."""

    __slots__ = ("answers", "deployments", "frames", "refusals", "rows", "wishes")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.wishes: list[Wish] = []
        self.answers: list[Answer] = []
        self.refusals: list[Refusal] = []
        self.frames: dict[int, Frame] = {}
        """Those that have changed."""
        self.deployments: set[str] = set()
        """Those of which something has changed."""
