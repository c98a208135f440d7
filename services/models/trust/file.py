"""The server's list of trust as a file: read again when it has changed and come to rest, whole or not at all.

Owns the look at the file; what its words mean is said by `trust.words`. Words stand on lines or between commas; after #
is a remark. Who may write the file decides what frames open, so one that others may write is no list. A list that is
wrong changes nothing: the one before stays, and the log and a figure say so; at the start that is the option's alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.models.trust.words import NOBODY, Trust, both, read_trust

LOOK_S = 1.0
FILE_BYTES_MOST = 1 << 20
_log = get_logger("models.trust")

_Sight = tuple[int, int, int, int]
"""Device, inode, size and time of change: another file, or other content."""


class TrustFile:
    """`look` once before anything is opened, `run` is a loop that the service starts."""

    def __init__(self, path: Path, option: Trust, clock: Clock, take: Callable[[Trust], None]) -> None:
        """`option`: what counts beside the file; `take` is told each list that comes into force."""
        self._path = path
        self._option = option
        self._clock = clock
        self._take = take
        self._seen: _Sight | None = None
        self._settling: _Sight | None = None
        self._is_first = True
        self._said = NOBODY
        self.refusal = ""
        """What is wrong with the list as it lies there; empty: it is in force."""

    @property
    def trusted(self) -> Trust:
        """Option and file together, as they are in force."""
        return both(self._option, self._said)

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._clock.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Reads the file if it is another than the last time."""
        try:
            seen, text = self._content()
        except (OSError, ValueError) as error:
            self._refuse(str(error))
            return
        if text is None:
            return
        self._seen = seen
        try:
            said = read_trust(words_of(text))
        except ValueError as error:
            self._refuse(str(error))
            return
        self.refusal = ""
        if said != self._said:
            self._said = said
            _log.info("trust_read", path=str(self._path), opened=len(said.opened), types=len(said.types))
            self._take(self.trusted)

    def _content(self) -> tuple[_Sight | None, str | None]:
        """None as text: there is nothing new. Raises OSError, ValueError."""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            self._is_first = False
            return None, None if self._seen is None and not self.refusal else ""
        with os.fdopen(file, "rb") as opened:
            found = os.fstat(file)
            seen = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if not stat.S_ISREG(found.st_mode):
                raise ValueError("it is no regular file")
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or found.st_uid not in (0, os.geteuid()):
                raise ValueError("others than who runs the service may write it: chmod 600, chown")
            if found.st_size > FILE_BYTES_MOST:
                raise ValueError(f"{found.st_size} bytes are more than {FILE_BYTES_MOST}")
            if seen == self._seen or not self._is_settled(seen):
                return seen, None
            return seen, opened.read(FILE_BYTES_MOST).decode()

    def _is_settled(self, seen: _Sight) -> bool:
        """Whether it was the same a look ago: half of `ada/iris` would be all of ada's."""
        is_same, self._settling = seen == self._settling, seen
        is_first, self._is_first = self._is_first, False
        return is_same or is_first

    def _refuse(self, why: str) -> None:
        """Said once: the list before stays in force."""
        if why != self.refusal:
            self.refusal = why
            _log.error(
                "trust_refused", path=str(self._path), reason=why, next_step="the list before counts on"
            )


def words_of(text: str) -> str:
    """Lines with remarks as the option's one line."""
    return ",".join(line.partition("#")[0].strip() for line in text.splitlines())
