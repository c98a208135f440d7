"""What the catalogue speaks about, in the contract's words; every reason to refuse. Pure."""

from __future__ import annotations

from enum import Enum

from services.chassis.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)

CHAMPION = "champion"
"""The alias that is meant where no version is named."""


class VersionState(Enum):
    """How far a version, or a revision of its configuration, is."""

    INSPECTING = "inspecting"
    PROBING = "probing"
    NEEDS_ANSWER = "needs_answer"
    READY = "ready"
    FAILED = "failed"


class Role(Enum):
    """What an account that does not own a model may do with it; each may what those before it may."""

    VIEWER = "viewer"
    CALLER = "caller"
    MANAGER = "manager"


class WorkKind(Enum):
    """What is done on an agent for a version."""

    INSPECT = "inspect"
    PROBE = "probe"


class Cause(Enum):
    """Why work ended without saying what it found."""

    DIED = "died"
    """Its program ended otherwise than it should: a crash, a signal, too much memory, too long."""
    LOST = "lost"
    """Its node is gone, or nobody knows any more."""
    SETUP = "setup"
    """Its environment, or its files, could not be made ready."""
    CANCELLED = "cancelled"
    REFUSED = "refused"
    """The scheduler did not take it."""
    SENSELESS = "senseless"
    """What it wrote cannot be read."""


class ModelNotFound(NotFound):
    """There is no such model, or it is not yours to see."""


class ModelVersionNotFound(NotFound):
    """The model has no such version, or no such alias."""


class ConfigNotFound(NotFound):
    """The version's configuration has no such revision."""


class VersionNotReady(FailedPrecondition):
    """The version is not READY."""


class ModelNameTaken(AlreadyExists):
    """Another account has a model of this name."""


class ModelForbidden(PermissionDenied):
    """The caller may see the model, and not do this with it."""


class ModelStale(Aborted):
    """The model has changed since."""


class ConfigStale(Aborted):
    """The configuration has a newer revision than the one that this is based on."""


class AliasStale(Aborted):
    """The alias points elsewhere by now."""


class VersionInUse(FailedPrecondition):
    """An alias or a deployment names the version."""


class VersionIsInspected(FailedPrecondition):
    """The version's files are being looked at; its configuration can be changed once that is over."""


class ModelFull(FailedPrecondition):
    """A model has as many aliases, labels or accounts as it may."""


class AliasInvalid(InvalidArgument):
    """An alias has letters, digits, - and _, and is no number."""
