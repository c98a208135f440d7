"""Where the rooms of this service meet: what the catalogue, the frames and the calls know of each other.

Every answer here comes from memory, so that a call waits for no disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from modelyard.models import Config
from services.models.surroundings.association import TriedImage


class VersionKey(msgspec.Struct, frozen=True, order=True):
    """One revision of the configuration of one version: what a frame loads."""

    model: str
    version: int
    config_revision: int


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A version as it serves."""

    key: VersionKey
    account: str
    """Who made the version: its files are this account's, and its frames are asked for on this account's behalf."""
    config: Config
    files: tuple[tuple[str, str, int], ...]
    """Of the component: path, sha256, bytes."""
    golden_digest: str = ""
    golden_example: str = ""
    """The artefact with the example; empty: none was made."""
    may_unpickle: bool = False
    """The server allows it for this component."""
    trusted_types: tuple[str, ...] = ()
    """Of skops: what the server lets it construct beside what is harmless."""
    image: TriedImage = TriedImage()
    """Of the container that it was tried in; frames of it are made of no other."""


class Versions(Protocol):
    """What the catalogue knows (catalogue/)."""

    def served(self, model: str, version: str = "") -> Served:
        """By number or alias; empty: the alias champion, else the latest that is READY.

        Raises ModelNotFound, VersionNotReady.
        """
        ...

    def may(self, account: str, model: str, role: str) -> bool:
        """Whether the account may view, call or manage it."""
        ...

    def models(self, account: str) -> Sequence[str]:
        """Those that it may call."""
        ...


class ReadyFrame(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded component that takes calls."""

    number: int
    key: VersionKey
    node: str


class Way(msgspec.Struct, frozen=True):
    """How a frame is reached."""

    address: str
    """`tcp://host:port`, where the process beside it listens, or `unix:///path`."""
    node: str = ""
    """Whose certificate is shown there."""
    socket: str = ""
    """Path of its own socket, where its node is proved to be this machine; empty: it is not."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Which version answers a call, and with which settings."""

    served: Served
    deployment: str = ""
    """Empty: the model itself was named."""
    mirror: Served | None = None
    queue_most: int
    max_batch: int
    batch_delay_ms: float
    deadline_s: float
    is_batched_apart: bool = False
    """Never rows of several accounts in one batch."""


class FrameSource(Protocol):
    """Which frames there are, and the asking for more (frames/)."""

    def route(self, name: str, version: str, sticky: str) -> Route:
        """A deployment by its name and weights, else the model itself. Raises what Versions.served raises."""
        ...

    def sticky_parameter(self, name: str) -> str:
        """The parameter of calls by which a caller of this deployment stays with one version; empty: the account."""
        ...

    def ready(self, key: VersionKey) -> Sequence[ReadyFrame]:
        """Those that are warm."""
        ...

    async def wanted(self, route: Route, deadline_s: float) -> ReadyFrame:
        """Waits for the first that is ready; one more is asked for where none is warm, or all are busy and may be more.

        Raises DeadlineExceeded, FrameUnloadable (why it cannot be loaded), NoRoom (what the scheduler says).
        """
        ...

    async def unload(self, model: str, version: str) -> None:
        """Asks its frames to end once they have answered what they have; an empty version: all. Idempotent."""
        ...

    def used(self, number: int, active: int, now_ms: int) -> None:
        """So many calls are in it now: whoever is unused longest makes room first."""
        ...

    def loaded(self, number: int, load_s: float, memory_bytes: int, golden_digest: str) -> None:
        """The frame itself says that it has loaded its component."""
        ...

    def unloadable(self, number: int, code: str, field: str, message: str) -> None:
        """The frame itself says that it cannot."""
        ...

    def gone(self, number: int, why: str) -> None:
        """Its connection is lost and does not come back."""
        ...


class Doors(Protocol):
    """The connections to frames (calls/)."""

    def open(self, number: int, key: VersionKey, way: Way, secret: str) -> None:
        """Dials until the frame answers, and tells the FrameSource what it says."""
        ...

    async def drain(self, number: int, grace_s: float) -> None:
        """No new calls; those that it has are answered, then it is asked to leave."""
        ...

    def close(self, number: int, why: str = "") -> None:
        """It has ended: what it had not answered fails, or is tried once more elsewhere where that is safe.

        `why` is for the callers whose calls it took along: how it ended, and its last lines.
        """
        ...
