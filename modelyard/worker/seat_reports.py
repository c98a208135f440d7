"""What a worker has to say of the seats that it keeps, until it is acknowledged.

Owns numbers and the bound of what is kept. Belongs to the ledger, whose lock guards it.
"""

from modelyard.worker.frames import Message

# Beyond so many the oldest progress goes; nothing else does.
_KEPT_MOST = 2_000
_STATE, _FLEETING = "seat", "activity"


class SeatReports:
    """Every report is a SeatReport."""

    def __init__(self) -> None:
        self._number = 0
        self._standing: Message | None = None
        self._kept: dict[int, Message] = {}

    def add(self, key: str, event: Message) -> Message:
        """The report of an event."""
        if _STATE in event:
            self._standing = {"key": key, "event": event}
        if _FLEETING in event:
            return {"key": key, "event": event}
        self._number += 1
        report: Message = {"key": key, "number": self._number, "event": event}
        self._kept[self._number] = report
        if len(self._kept) > _KEPT_MOST:
            self._drop_progress()
        return report

    def close(self) -> None:
        """There is no seat any more; what is not acknowledged stays."""
        self._standing = None

    def inventory(self) -> list[Message]:
        """The seat as it is, then what is not acknowledged."""
        standing = [self._standing] if self._standing is not None else []
        return [*standing, *self._kept.values()]

    def acknowledge(self, key: str, number: int) -> None:
        """Reports of this seat up to this number need not be kept."""
        for known in [n for n, report in self._kept.items() if n <= number and report["key"] == key]:
            del self._kept[known]

    def _drop_progress(self) -> None:
        for number, report in self._kept.items():
            if "progress" in report["event"]:
                del self._kept[number]
                return
