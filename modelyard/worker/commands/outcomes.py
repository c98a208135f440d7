"""Commands that stand for something beside them, such as a container: how that has ended, and that nothing of it stays.

Owns the reading of what such a command tells, and what is run when it was killed and cannot tell.
"""

import json
import os
import select
import signal
from pathlib import Path

from modelyard.worker.frames import Message
from modelyard.worker.processes.executables import NotExecutable
from modelyard.worker.processes.spawning import Spawner

_CLEANUP_MS = 10_000


def read_outcome(path: str) -> Message | None:
    """As fields of a report; None: nothing was told."""
    try:
        told = json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def clean_up(spawner: Spawner, work: Message) -> None:
    """Runs the work's clean-up to its end, for some seconds at most. Its trouble goes into this worker's log."""
    argv = work.get("cleanup_argv", [])
    if not argv:
        return
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        pid = spawner.spawn(argv, work.get("env", {}), "/", [null, null, 2])
    except (NotExecutable, OSError) as error:
        os.write(2, f"{argv[0]}: {error}\n".encode())
        return
    finally:
        os.close(null)
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(_CLEANUP_MS):
        os.kill(pid, signal.SIGKILL)
    os.close(pidfd)
    os.waitpid(pid, 0)
