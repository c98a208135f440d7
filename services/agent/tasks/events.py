"""What can happen to an agent: the inputs of its machine, in the past tense. Values only."""

from __future__ import annotations

from typing import Any

import msgspec

from services.agent.tasks.model import Attachment, Body, Cause, Exit, Given, Holding, Pool


class StartAsked(msgspec.Struct, frozen=True):
    """The scheduler wants a task here. Without a body the refusal says why it cannot be read."""

    task_id: str
    attempt: int
    epoch: int
    body: Body | None
    params_json: str = ""
    prefill: bool = False
    array_index: int = -1
    gpu_devices: tuple[str, ...] = ()
    token: str = ""
    pool: Pool | None = None
    """None: the body's own."""
    refusal: str = ""


class RetractAsked(msgspec.Struct, frozen=True):
    """The scheduler wants a waiting task back."""

    task_id: str
    attempt: int


class StopAsked(msgspec.Struct, frozen=True):
    """A task is to end."""

    task_id: str
    attempt: int
    grace_ms: int
    cause: Cause
    message: str
    signal: str = ""


class ModifyAsked(msgspec.Struct, frozen=True):
    """A task is to go on differently. params_json is laid over its parameters, "": they stay; run_timeout_ms counts
    from its start, 0: no limit, None: it stays."""

    task_id: str
    attempt: int
    revision: int
    params_json: str = ""
    run_timeout_ms: int | None = None
    attachments: tuple[Attachment, ...] = ()
    """Laid over those that it has by path; one without a digest is taken away."""
    holding: Holding | None = None
    """What it holds and may use from now on; None: that stays."""


class SuspendAsked(msgspec.Struct, frozen=True):
    """A task is to be stopped where it is."""

    task_id: str
    attempt: int


class ResumeAsked(msgspec.Struct, frozen=True):
    """A suspended task may go on."""

    task_id: str
    attempt: int


Command = StartAsked | RetractAsked | StopAsked | ModifyAsked | SuspendAsked | ResumeAsked


class CommandsReceived(msgspec.Struct, frozen=True):
    """Commands numbered from first_number on; those that were applied before are skipped."""

    first_number: int
    commands: tuple[Command, ...]


class VerdictGiven(msgspec.Struct, frozen=True):
    """What the scheduler says about one held task: KEEP, STOP or FORGET."""

    task_id: str
    attempt: int
    kind: str


class HelloSaid(msgspec.Struct, frozen=True):
    """A full statement of everything is about to be sent; events count from here."""


class SessionOpened(msgspec.Struct, frozen=True):
    """The scheduler has welcomed the agent. sent_ms: when the Hello left, monotonic."""

    lease_ms: int
    sent_ms: int
    credits: int
    verdicts: tuple[VerdictGiven, ...] = ()


class SessionLost(msgspec.Struct, frozen=True):
    """The stream has ended."""


class BeatAcknowledged(msgspec.Struct, frozen=True):
    """The lease counts from sent_ms, when that beat left, monotonic; lease_ms 0: as it was."""

    sent_ms: int
    lease_ms: int = 0


class EventsAcknowledged(msgspec.Struct, frozen=True):
    """Events up to this number are on the scheduler's disk."""

    number: int


class NeedReady(msgspec.Struct, frozen=True):
    """A bundle, environment, input or working directory is there."""

    need: str
    given: Given | None = None
    """With the working directory of an attempt: what the agent's environment gives to its parameters."""


class NeedFailed(msgspec.Struct, frozen=True):
    """It could not be made."""

    need: str
    message: str
    next_step: str = ""


class NeedMoved(msgspec.Struct, frozen=True):
    """Something is to be told of what takes long; "": no longer."""

    need: str
    message: str


class NeedDropped(msgspec.Struct, frozen=True):
    """It was collected as garbage and has to be made again."""

    need: str


class WorkerReady(msgspec.Struct, frozen=True):
    """A worker that was asked for takes work."""

    worker: str


class WorkerLost(msgspec.Struct, frozen=True):
    """A worker has ended, or never came to be (then error says why). undelivered: work keys that it
    was to get and did not."""

    worker: str
    exit_code: int = 0
    signal: int = 0
    out_of_memory: bool = False
    error: str = ""
    undelivered: frozenset[str] = frozenset()


class WorkBegun(msgspec.Struct, frozen=True):
    """A worker has started a task. Wall-clock milliseconds."""

    key: str
    start_ms: int


class WorkMoved(msgspec.Struct, frozen=True):
    """A task tells how far it is."""

    key: str
    ratio: float
    message: str = ""


class WorkModified(msgspec.Struct, frozen=True):
    """A worker has taken new parameters in, or says why not."""

    key: str
    revision: int
    accepted: bool
    message: str = ""
    unknown: bool = False
    """The worker does not have it: it was called back, or has ended."""
    has_attachments: bool = False
    """It is attachments that were changed."""


class WorkDone(msgspec.Struct, frozen=True):
    """A task has ended in its worker. not_started: it was cancelled before its turn."""

    key: str
    exit: Exit
    not_started: bool = False


class WorkReported(msgspec.Struct, frozen=True):
    """One frame of a worker."""

    worker: str
    begun: tuple[WorkBegun, ...] = ()
    moved: tuple[WorkMoved, ...] = ()
    done: tuple[WorkDone, ...] = ()
    modified: tuple[WorkModified, ...] = ()


class SeatsReported(msgspec.Struct, frozen=True):
    """What a shim says of its seat; not for the machine, which knows of the task only."""

    worker: str
    reports: tuple[dict[str, Any], ...]


class TaskRestored(msgspec.Struct, frozen=True):
    """A task that an earlier agent process had accepted."""

    start: StartAsked
    running: bool = False
    start_ms: int = 0
    suspended_for_ms: int = -1
    """How long it has been stopped by now; −1: it is not."""
    paused_ms: int = 0


class WorkerRestored(msgspec.Struct, frozen=True):
    """A worker of an earlier agent process, with what it runs (first) and has waiting.

    Of its ended tasks a WorkReported follows.
    """

    worker: str
    pool: Pool | None
    tasks: tuple[TaskRestored, ...] = ()
    ended: tuple[TaskRestored, ...] = ()


class OutcomeRestored(msgspec.Struct, frozen=True):
    """The end of a task whose worker is gone was found on disk, in that worker's records."""

    start: StartAsked
    exit: Exit
    worker: str = ""


class OutputsStored(msgspec.Struct, frozen=True):
    """What a task wants kept is in the store, or could not be; exit is its end with that in it."""

    key: str
    exit: Exit


class AttachmentsPlaced(msgspec.Struct, frozen=True):
    """What was attached to a running task lies where it should; a message says why not."""

    key: str
    revision: int
    attachments: tuple[Attachment, ...]
    message: str = ""


class HoldingChanged(msgspec.Struct, frozen=True):
    """A running task has other limits; refused says why not, message how far."""

    key: str
    revision: int
    holding: Holding
    refused: bool = False
    message: str = ""


class ClockTicked(msgspec.Struct, frozen=True):
    """Time has passed."""


class DrainBegan(msgspec.Struct, frozen=True):
    """No new work; what runs may go on for so long."""

    deadline_ms: int
    message: str


Event = (
    CommandsReceived
    | HelloSaid
    | SessionOpened
    | SessionLost
    | BeatAcknowledged
    | EventsAcknowledged
    | NeedReady
    | NeedFailed
    | NeedDropped
    | NeedMoved
    | WorkerReady
    | WorkerLost
    | WorkReported
    | WorkerRestored
    | OutcomeRestored
    | OutputsStored
    | AttachmentsPlaced
    | HoldingChanged
    | ClockTicked
    | DrainBegan
)
