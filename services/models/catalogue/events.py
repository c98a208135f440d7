"""What happens to the catalogue. Pure."""

from __future__ import annotations

import msgspec

from modelyard.models import Facts, Inspection
from services.models.catalogue.model import Cause, Role
from services.models.catalogue.state import File, Lineage
from services.models.surroundings.association import TriedImage


class Event(msgspec.Struct, frozen=True):
    """Handed to the machine."""


class Asking(Event, frozen=True):
    """Somebody waits for the answer under this number."""

    reply: int


class VersionCreated(Asking, frozen=True, kw_only=True):
    """A component is to be the next version of its model."""

    model: str
    account: str
    files: tuple[File, ...]
    digest: str
    declared: str = ""
    labels: dict[str, str] = {}
    lineage: Lineage = Lineage()
    summary: str = ""


class ModelUpdated(Asking, frozen=True, kw_only=True):
    """Its owner changes what is said of a model, and who may do what with it."""

    model: str
    revision: int = 0
    summary: str | None = None
    labels: dict[str, str] = {}
    access: dict[str, Role | None] = {}


class AliasSet(Asking, frozen=True, kw_only=True):
    """A name is to point at a version."""

    model: str
    alias: str
    version: int
    account: str
    from_version: int = 0
    comment: str = ""


class AliasDeleted(Asking, frozen=True, kw_only=True):
    """A name is to be gone."""

    model: str
    alias: str
    account: str
    comment: str = ""


class ConfigPut(Asking, frozen=True, kw_only=True):
    """An edited model.yaml is to be the next revision. `inspection`: what is on disk of the version's files."""

    model: str
    version: int
    document: str
    account: str
    based_on: int = 0
    inspection: Inspection | None = None


class VersionDeleted(Asking, frozen=True, kw_only=True):
    """A version is to be gone."""

    model: str
    version: int


class QuotaSet(Asking, frozen=True, kw_only=True):
    """An account may have more, or less. `given`: fields of the quota; what is not in it stays."""

    account: str
    given: dict[str, int]


class WorkEvent(Event, frozen=True):
    """Of the work of this number for a version."""

    model: str
    version: int
    number: int


class WorkAccepted(WorkEvent, frozen=True):
    """The scheduler has it as this task."""

    task: str


class Inspected(WorkEvent, frozen=True):
    """The look at its files is over."""

    inspection: Inspection


class Probed(WorkEvent, frozen=True, kw_only=True):
    """It was loaded, and answered its examples."""

    facts: Facts
    golden_digest: str = ""
    golden_example: str = ""
    load_s: float = 0.0
    memory_bytes: int = 0
    warnings: tuple[str, ...] = ()
    image: TriedImage = TriedImage()


class WorkRefused(WorkEvent, frozen=True, kw_only=True):
    """The program says that it cannot be: the component, or what is said of it, is not right."""

    code: str
    message: str
    field: str = ""


class WorkFailed(WorkEvent, frozen=True, kw_only=True):
    """It ended without saying what it found."""

    cause: Cause
    message: str
