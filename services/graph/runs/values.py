"""What nodes give and how they end: values frozen for good. Pure."""

from enum import Enum

import msgspec


class Detail(Enum):
    """Finer than pending, error, done."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    RETRYING = "retrying"
    GATED = "gated"
    COMPUTED = "computed"
    CACHED = "cached"
    SKIPPED = "skipped"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"

    @property
    def is_error(self) -> bool:
        # Beside each other in a tuple they are told apart by identity; in a set they would be hashed.
        return self in (Detail.FAILED, Detail.TIMED_OUT, Detail.CANCELLED)

    @property
    def has_results(self) -> bool:
        return self in (Detail.COMPUTED, Detail.CACHED)


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """One value on its way: JSON text, or the digest of an artefact; neither: the empty set.

    `content` is the sha256 of its bytes.
    """

    value: str = ""
    digest: str = ""
    content: bytes = b""
    is_value: bool = False
    """The artefact holds the JSON of a value, not the bytes of a file."""


EMPTY = Piece()


class Output(msgspec.Struct, frozen=True, array_like=True):
    """What a port gave: a small JSON value, an artefact, or a list with artefacts among its members.

    `content` is the sha256 of its bytes; of a value that was dropped nothing else is left.
    """

    port: str
    value: str = ""
    digest: str = ""
    size_bytes: int = 0
    content: bytes = b""
    items: tuple[Piece, ...] = ()
    is_value: bool = False
    """As of a piece."""

    @property
    def is_dropped(self) -> bool:
        return not self.value and not self.digest and not self.items

    @property
    def digests(self) -> tuple[str, ...]:
        """The artefacts that it is made of."""
        if self.digest:
            return (self.digest,)
        return tuple(dict.fromkeys(piece.digest for piece in self.items if piece.digest))


class PortInput(msgspec.Struct, frozen=True, array_like=True):
    """What a port gets. A port with several edges gets a list, in the defined order."""

    port: str
    takes: str
    pieces: tuple[Piece, ...]
    is_list: bool


CAUSE_TIMEOUT, CAUSE_ERROR, CAUSE_SETUP, CAUSE_CANCELLED = 5, 6, 7, 9
"""Of modelyard.v1.TaskCause."""


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Why a node is in error, in the contract's words."""

    cause: int
    message: str
    next_step: str = ""
    exit_code: int = 0
    signal: int = 0
    traceback: str = ""


class End(msgspec.Struct, frozen=True, array_like=True):
    """How a node ended; committed as it is."""

    detail: Detail
    outputs: tuple[Output, ...] = ()
    failure: Failure | None = None
    task: str = ""
    attempt: int = 0
    node: str = ""
    params: str = ""
    key: bytes = b""
    reason: str = ""
    """Why the cache had it, or had it not."""
    ready_ms: int = 0
    start_ms: int = 0
    end_ms: int = 0
    note: str = ""
    """What it decided, or what decided over it."""
    run_ms: int = 0
    """How long the task itself ran, without what it waited for; 0: less than one, or not known."""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What an earlier run has of a node: good as long as the key is the same."""

    run: int
    end: End


class GateRecord(msgspec.Struct, frozen=True, array_like=True):
    """A gate that waits, or what was decided there."""

    open_ms: int
    is_approved: bool | None = None
    account: str = ""
    comment: str = ""
    decide_ms: int = 0
