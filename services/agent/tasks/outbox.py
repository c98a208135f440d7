"""What the scheduler has still to learn: events without a number, and those not acknowledged.

A number is given when an event leaves. A start whose task has ended by then is never told. Pure.
"""

from __future__ import annotations

from collections import deque

from services.agent.tasks.model import Note, NoteKind, Task

FINAL = (NoteKind.EXITED, NoteKind.REJECTED, NoteKind.RETRACTED)
URGENT = (*FINAL, NoteKind.MODIFIED)
BATCH_BYTES = 1_000_000


class Outbox:
    """The events of one session. A new session starts an empty one: Hello says everything."""

    def __init__(self, credit: int = 0) -> None:
        self.credit = credit
        self.sent = 0
        self.acknowledged = 0
        self._notes: deque[Note] = deque()
        self._progress: dict[str, Note] = {}
        self._unacked: deque[tuple[int, Task]] = deque()

    @property
    def waiting(self) -> int:
        """Events that are not sent, or not known to be on the scheduler's disk."""
        return len(self._notes) + len(self._progress) + len(self._unacked)

    @property
    def urgent(self) -> bool:
        """Whether anything but starts and progress waits to be sent."""
        return any(note.kind in URGENT for note in self._notes)

    @property
    def patient(self) -> bool:
        """Whether only starts wait of tasks that will soon end."""
        return all(note.soon_over for note in self._notes)

    def __bool__(self) -> bool:
        return bool(self._notes or self._progress)

    def add(self, note: Note) -> None:
        """Queues an event; the newest progress of a task replaces an older one."""
        if note.kind is NoteKind.PROGRESS:
            self._progress[note.task.key] = note
        else:
            self._notes.append(note)

    def take(self, most: int) -> tuple[int, list[Note]]:
        """The next events to send and the number of the first, within the scheduler's credit."""
        room = min(most, self.credit - (self.sent - self.acknowledged)) if self.credit else most
        first, size = self.sent + 1, 0
        taken: list[Note] = []
        while self._notes and len(taken) < room and size < BATCH_BYTES:
            note = self._notes.popleft()
            ended = note.task.exit
            if note.kind is NoteKind.STARTED and ended is not None:
                continue
            if note.kind in FINAL:
                self._progress.pop(note.task.key, None)
                self._unacked.append((self.sent + len(taken) + 1, note.task))
                size += len(ended.value_json) if ended is not None else 0
            taken.append(note)
        while self._progress and len(taken) < room:
            taken.append(self._progress.pop(next(iter(self._progress))))
        self.sent += len(taken)
        return first, taken

    def acknowledge(self, number: int) -> list[Task]:
        """Tasks whose last event is on the scheduler's disk."""
        self.acknowledged = max(self.acknowledged, min(number, self.sent))
        settled: list[Task] = []
        while self._unacked and self._unacked[0][0] <= number:
            settled.append(self._unacked.popleft()[1])
        return settled
