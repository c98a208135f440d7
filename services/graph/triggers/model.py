"""What triggers, firings and back-fills are, and why they are refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from services.chassis.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)


class Concurrency(StrEnum):
    """What happens to a firing while a run of its trigger goes on."""

    ALLOW = "allow"
    FORBID = "forbid"
    QUEUE = "queue"


class CatchUp(StrEnum):
    """What becomes of times that passed while the service was down."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


class FiringState(StrEnum):
    """Also the text in the table."""

    WAITING = "waiting"
    STARTED = "started"
    SKIPPED = "skipped"
    REFUSED = "refused"
    CANCELLED = "cancelled"


class Reprocess(StrEnum):
    """Which times that have a run already run again."""

    NONE = "none"
    FAILED = "failed"
    ALL = "all"


class Sequence(StrEnum):
    """Which times of a back-fill come first."""

    OLDEST = "oldest"
    NEWEST = "newest"


class CronSource(msgspec.Struct, frozen=True, tag="cron"):
    """Times by the clock of a place."""

    expression: str
    time_zone: str = "UTC"
    catch_up: CatchUp = CatchUp.LAST
    catch_up_most: int = 100


class WebhookForm(StrEnum):
    """How deliveries are signed."""

    STANDARD = "standard"
    GITHUB = "github"


class WebhookSource(msgspec.Struct, frozen=True, tag="webhook"):
    """Signed deliveries over HTTP."""

    form: WebhookForm = WebhookForm.STANDARD


class ArtifactSource(msgspec.Struct, frozen=True, tag="artifact"):
    """New artefacts of the account."""

    name_prefix: str = ""


class ModelSource(msgspec.Struct, frozen=True, tag="model"):
    """Versions that become ready, or moves of an alias."""

    model: str
    alias: str = ""


Source = CronSource | WebhookSource | ArtifactSource | ModelSource


def kind_of(source: Source) -> str:
    """Also the text in the table."""
    return str(source.__struct_config__.tag)


class Wish(msgspec.Struct, frozen=True):
    """What was asked for: which run, from what, and how many at a time."""

    source: Source
    version: int = 0
    params: str = "{}"
    event_params: Mapping[str, str] = {}
    concurrency: Concurrency = Concurrency.ALLOW
    max_running: int = 1
    max_waiting: int = 100
    comment: str = ""


class RunTrigger(msgspec.Struct, frozen=True, kw_only=True):
    """One trigger, as it is on disk. `cursor`: up to where everything was decided, in its source's own count."""

    number: int
    account: str
    name: str
    project: int
    wish: Wish
    is_paused: bool
    pause_reason: str
    cursor: int
    next_ms: int | None
    missed: tuple[int, int] | None
    old_until_ms: int
    revision: int
    create_time_ms: int
    update_time_ms: int

    @property
    def id(self) -> str:
        return f"tr-{self.number}"


class Firing(msgspec.Struct, frozen=True):
    """One firing, as it is on disk, with the state of its run ("" where there is none)."""

    number: int
    trigger: int
    key: str
    state: FiringState
    logical_ms: int | None
    backfill: int | None
    event: str
    params: str
    create_time_ms: int
    run: int | None
    reason: str
    message: str
    run_state: str = ""

    @property
    def id(self) -> str:
        return f"f-{self.number}"


class NewFiring(msgspec.Struct, frozen=True):
    """What is to be one."""

    key: str
    event: str
    params: str = ""
    logical_ms: int | None = None
    backfill: int | None = None


class Backfill(msgspec.Struct, frozen=True):
    """One back-fill, as it is on disk."""

    number: int
    trigger: int
    account: str
    from_ms: int
    to_ms: int
    max_running: int
    sequence: Sequence
    reprocess: Reprocess
    params: str
    kept_count: int
    is_cancelled: bool
    create_time_ms: int

    @property
    def id(self) -> str:
        return f"b-{self.number}"


class TriggerNotFound(NotFound):
    """There is no such trigger, or it is not yours to see."""


class BackfillNotFound(NotFound):
    """There is no such back-fill, or it is not yours to see."""


class TriggerNameTaken(AlreadyExists):
    """The account has a trigger of this name."""


class TriggerNameInvalid(InvalidArgument):
    """A trigger's name has letters, digits, '-', '_' and '.', begins with a letter, and is no id."""


class TriggerInvalid(InvalidArgument):
    """A field of the trigger has no meaning."""


class TriggerForbidden(PermissionDenied):
    """The trigger is changed by whose it is, and by the project's owner."""


class TriggerChanged(Aborted):
    """The trigger was changed since."""


class CronInvalid(InvalidArgument):
    """The cron expression cannot be read."""


class TimeZoneUnknown(InvalidArgument):
    """There is no such time zone."""


class NoSchedule(FailedPrecondition):
    """Only triggers with a schedule have times to fill in."""


class NoWebhook(FailedPrecondition):
    """Only triggers of webhooks have a secret."""


class BackfillTooLarge(InvalidArgument):
    """The range has more times than one back-fill takes."""


class BackfillEmpty(InvalidArgument):
    """The range has no time of the schedule that has passed."""


class EventFieldMissing(InvalidArgument):
    """The event lacks a field that a parameter is taken from."""


class FiringsFull(ResourceExhausted):
    """Too many firings of the trigger wait already."""


class WatchUnavailable(FailedPrecondition):
    """The yard has no service that knows of this."""
