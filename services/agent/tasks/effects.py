"""What the machine wants done, as data: the engine performs these in order. Values only."""

from __future__ import annotations

import msgspec

from services.agent.tasks.model import Attachment, Exit, Holding, LimitSet, Pool, Task


class SpawnWorker(msgspec.Struct, frozen=True):
    """Start a worker for a pool, or a fresh one."""

    worker: str
    pool: Pool | None


class ApplyLimits(msgspec.Struct, frozen=True):
    """From now on the worker's tasks have these limits."""

    worker: str
    limits: LimitSet


class RunTasks(msgspec.Struct, frozen=True):
    """Put tasks into a worker's queue."""

    worker: str
    tasks: tuple[Task, ...]


class CancelTask(msgspec.Struct, frozen=True):
    """End one task in a worker; if_waiting: only if it has not begun there."""

    worker: str
    task: Task
    grace_ms: int
    if_waiting: bool = False
    # Asks a command to end; empty: SIGTERM.
    signal: str = ""


class ChangeParams(msgspec.Struct, frozen=True):
    """Lay parameters over those of a task that its worker has; WorkModified follows."""

    worker: str
    task: Task
    revision: int
    params_json: str


class PlaceAttachments(msgspec.Struct, frozen=True):
    """Fetch what is attached to a running task and put it in its place; AttachmentsPlaced follows."""

    task: Task
    revision: int
    attachments: tuple[Attachment, ...]


class TellAttachments(msgspec.Struct, frozen=True):
    """Tell a running task what is attached to it by now; WorkModified follows."""

    worker: str
    task: Task
    revision: int


class ChangeHolding(msgspec.Struct, frozen=True):
    """Change the limits of a running task; HoldingChanged follows."""

    worker: str
    task: Task
    revision: int
    holding: Holding


class SuspendWork(msgspec.Struct, frozen=True):
    """Stop every process of a running task where it is."""

    worker: str
    task: Task


class ResumeWork(msgspec.Struct, frozen=True):
    """Let the processes of a suspended task go on."""

    worker: str
    task: Task


class KillWorker(msgspec.Struct, frozen=True):
    """SIGKILL."""

    worker: str


class QuitWorker(msgspec.Struct, frozen=True):
    """End an idle worker."""

    worker: str


class FenceWork(msgspec.Struct, frozen=True):
    """Have the workers of these tasks end them by themselves when the scheduler is silent for too long."""

    tasks: tuple[Task, ...]


class LimitSeat(msgspec.Struct, frozen=True):
    """Its shim keeps the time too: the limit has changed, or stands still."""

    task: Task


class AckWork(msgspec.Struct, frozen=True):
    """The worker may forget these reports."""

    worker: str
    work_keys: tuple[str, ...]


class Prepare(msgspec.Struct, frozen=True):
    """Make a need ready, on behalf of this task's account."""

    need: str
    task: Task


class StoreOutputs(msgspec.Struct, frozen=True):
    """Keep what the task wants kept, then say OutputsStored."""

    task: Task
    exit: Exit


class ForgetTasks(msgspec.Struct, frozen=True):
    """The scheduler has their outcomes: what is left of them on disk may go."""

    tasks: tuple[Task, ...]


Effect = (
    SpawnWorker
    | ApplyLimits
    | RunTasks
    | CancelTask
    | ChangeParams
    | PlaceAttachments
    | TellAttachments
    | ChangeHolding
    | FenceWork
    | LimitSeat
    | SuspendWork
    | ResumeWork
    | KillWorker
    | QuitWorker
    | AckWork
    | Prepare
    | StoreOutputs
    | ForgetTasks
)
