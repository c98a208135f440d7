"""Whether a process of a yard serves, and whether another has taken its place. Standard library only."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cli.supervisor.files import read_ready

POLL_S = 0.05


def serving(path: Path) -> dict[str, Any] | None:
    """The ready file of a process that is alive."""
    ready = read_ready(path)
    if ready is None or not Path(f"/proc/{ready['pid']}").exists():
        return None
    return ready


def serves_again(path: Path, before_ms: int, timeout_s: float) -> bool:
    """Waits for a process that began at another time; False: there is none within the timeout."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        ready = serving(path)
        if ready is not None and ready["start_time_ms"] != before_ms:
            return True
        time.sleep(POLL_S)
    return False
