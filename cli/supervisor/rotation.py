"""The logs of a yard on one machine do not grow without end.

Services hold their file open for appending: what is in it is copied aside and the file is emptied, so nobody has to be
told. Lines that come in the instant between are lost; under systemd the journal keeps them all.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

LOOK_S = 60.0
MOST_BYTES = 64 << 20
KEEP = 5
KEEP_S = 30 * 86_400


def rotate_all(
    folder: Path, *, most_bytes: int = MOST_BYTES, keep: int = KEEP, now_s: float | None = None
) -> None:
    """Every `*.log` below ``folder`` that has grown too large; old copies go by number and by age."""
    now_s = time.time() if now_s is None else now_s
    for log in folder.glob("*.log"):
        if log.stat().st_size > most_bytes:
            _rotate(log, keep)
    for copy in folder.glob("*.log.[0-9]*"):
        if now_s - copy.stat().st_mtime > KEEP_S:
            copy.unlink(missing_ok=True)


def _rotate(log: Path, keep: int) -> None:
    def copy_of(number: int) -> Path:
        return log.with_name(f"{log.name}.{number}")

    copy_of(keep).unlink(missing_ok=True)
    for number in range(keep - 1, 0, -1):
        if copy_of(number).exists():
            copy_of(number).rename(copy_of(number + 1))
    with log.open("rb+") as file, copy_of(1).open("xb") as copy:
        copy_of(1).chmod(0o600)
        shutil.copyfileobj(file, copy)
        file.truncate(0)
