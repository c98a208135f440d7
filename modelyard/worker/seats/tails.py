"""A log file that grows, line by line.

Owns the position in one file. A line counts with its newline, or with the carriage return by which a progress bar
begins anew; what stands behind the last one when the writers are gone is a line too.
"""

import os
from pathlib import Path

LINE_BYTES = 4096
_LOOK_BYTES, _TAIL_BYTES = 1024 * 1024, 64 * 1024
LAST_LINES = 20


class Tail:
    """Whole lines of a file from an offset on. Of a longer line the first 4 KiB count."""

    def __init__(self, path: str, offset: int) -> None:
        self._path = path
        self._offset = offset
        self._rest = b""
        self._is_overlong = False

    def lines(self, *, is_over: bool = False) -> list[str]:
        """What has come since the last look, up to a mebibyte."""
        data = self._read()
        *whole, rest = (self._rest + data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).split(b"\n")
        found = whole[1:] if self._is_overlong and whole else whole
        if whole:
            self._is_overlong = False
        if self._is_overlong:
            rest = b""
        elif len(rest) > LINE_BYTES:
            # It is a line by now, whatever follows.
            found, rest, self._is_overlong = [*found, rest], b"", True
        self._rest = rest
        if is_over and not data and rest:
            found, self._rest = [*found, rest], b""
        return [line[:LINE_BYTES].decode(errors="replace") for line in found]

    @property
    def has_more(self) -> bool:
        """Whether the file is longer than what was read."""
        return size_of(self._path) > self._offset

    def _read(self) -> bytes:
        try:
            with Path(self._path).open("rb") as file:
                file.seek(self._offset)
                data = file.read(_LOOK_BYTES)
        except OSError:
            return b""
        self._offset += len(data)
        return data


def size_of(path: str) -> int:
    """0 where there is no such file."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - many times a second
    except OSError:
        return 0


def heading(epoch: int) -> str:
    """The line before what the processes of an epoch write to their standard error."""
    return f"── epoch {epoch} ──"


def last_lines(paths: list[str], offsets: list[int], epoch: int) -> list[str]:
    """The last 20 lines that these files have behind their offsets, those of the last file last; without the heading
    of this epoch."""
    found: list[str] = []
    for path, offset in zip(reversed(paths), reversed(offsets), strict=True):
        missing = LAST_LINES - len(found)
        if missing:
            found = [*_last(path, offset, heading(epoch))[-missing:], *found]
    return found


def _last(path: str, offset: int, left_out: str) -> list[str]:
    size = size_of(path)
    start = max(offset, size - _TAIL_BYTES)
    if size <= start:
        return []
    try:
        with Path(path).open("rb") as file:
            file.seek(start)
            data = file.read(_TAIL_BYTES)
    except OSError:
        return []
    lines = [line for line in data.rstrip(b"\n").split(b"\n") if line != left_out.encode()]
    shown = [line.rstrip(b"\r").rpartition(b"\r")[2] for line in lines[-LAST_LINES:]]
    return [line[:LINE_BYTES].decode(errors="replace") for line in shown]
