"""What the machine wants of the world: rows first, then wishes, then answers. Pure."""

from __future__ import annotations

import msgspec

from modelyard.models import Inspection
from services.chassis.errors import ServiceError
from services.models.catalogue.state import Model, Revision, Version, Work
from services.models.quotas import Quota


class Row(msgspec.Struct, frozen=True):
    """A change of the database."""


class PutModel(Row, frozen=True):
    model: Model


class PutVersion(Row, frozen=True):
    version: Version


class PutRevision(Row, frozen=True):
    model: str
    version: int
    revision: Revision


class PutFinding(Row, frozen=True):
    model: str
    version: int
    inspection: Inspection


class DropVersion(Row, frozen=True):
    """With its configurations, its findings and its usage."""

    model: str
    version: int


class InsertAliasChange(Row, frozen=True, kw_only=True):
    model: str
    alias: str
    from_version: int
    to_version: int
    account: str
    comment: str
    time_ms: int


class PutQuota(Row, frozen=True):
    account: str
    quota: Quota


class DropQuota(Row, frozen=True):
    account: str


class DropWork(Row, frozen=True):
    number: int


class Begin(msgspec.Struct, frozen=True):
    """Work to be submitted; its row goes with the step's."""

    version: Version
    revision: Revision
    work: Work
    may_unpickle: bool
    trusted_types: tuple[str, ...] = ()
    """Of skops: what this server lets it construct."""


class Wish(msgspec.Struct, frozen=True):
    """Owed to another service."""

    account: str


class Cancel(Wish, frozen=True):
    """Nobody needs the task."""

    task: str


class Hold(Wish, frozen=True):
    """The holder refers to these artefacts as well, or (none) to nothing any more."""

    holder: str
    digests: tuple[str, ...]


class Answer(msgspec.Struct, frozen=True):
    """To who asked: model and version, or why not."""

    reply: int
    model: str = ""
    version: int = 0
    was_there: bool = False
    error: ServiceError | None = None


class Effects(msgspec.Struct):
    """Of one step."""

    rows: list[Row] = []
    begins: list[Begin] = []
    wishes: list[Wish] = []
    answers: list[Answer] = []
    changed: set[tuple[str, int]] = set()
    """Versions (0: the model) that watchers are to look at."""
