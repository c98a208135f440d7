"""Where the processes below this one stand: their Python stacks where they can tell, else what the kernel knows.

Owns the asking. A process that has a handler for SIGUSR1 (faulthandler.register(signal.SIGUSR1) is enough) writes its
stacks to its stderr, which is waited for a moment; to one that has none it is not sent, because it would end it.
"""

import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

from modelyard.worker.seats.activity import below
from modelyard.worker.seats.tails import size_of

_WAIT_S, _QUIET_S, _TEXT_BYTES = 3.0, 0.3, 256 * 1024


def dump(
    stderr_path: str, spared: Collection[int] = (), outside: Collection[int] = (), *, is_fatal: bool = False
) -> str:
    """All that can be told, as text; up to three seconds. What processes do not write to the log themselves is written
    there for them. ``outside``: processes that have not come from this one, and count with what has come from them.

    `is_fatal`: those that tell their stacks only when they die (PYTHONFAULTHANDLER) are ended for it, and those that
    were stopped go on to tell them.
    """
    pids = sorted(pid for pid in below(spared, outside) if not _is_over(pid))
    asked = {pid: number for pid in pids if (number := _signal_for(pid, is_fatal=is_fatal))}
    parts = [_described(pid) for pid in pids if pid not in asked or _is_stopped(pid)]
    text = "\n".join(part for part in parts if part)
    if text:
        _append(stderr_path, text)
    if asked:
        before = size_of(stderr_path)
        for pid, number in asked.items():
            _send(pid, number)
            if is_fatal:
                _send(pid, signal.SIGCONT)
        dying = [pid for pid, number in asked.items() if number == signal.SIGABRT]
        _wait_until_told(stderr_path, before, dying, is_told_by_all=len(dying) == len(asked))
        text = "\n".join(part for part in (text, _written(stderr_path, before)) if part)
    return (text or "no process runs").encode()[:_TEXT_BYTES].decode(errors="replace")


def _signal_for(pid: int, *, is_fatal: bool) -> int:
    """By which the process tells its stacks; 0: it cannot, or may not."""
    if _is_stopped(pid) and not is_fatal:
        return 0
    if _hears(pid, signal.SIGUSR1):
        return signal.SIGUSR1
    return signal.SIGABRT if is_fatal and _hears(pid, signal.SIGABRT) else 0


def _hears(pid: int, number: int) -> bool:
    """Whether the process has a handler of its own."""
    status = _read(f"/proc/{pid}/status")
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)


def _is_stopped(pid: int) -> bool:
    status = _read(f"/proc/{pid}/status")
    return "\nState:\tT" in status or "\nState:\tt" in status


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _described(pid: int) -> str:
    """Its threads as the kernel sees them."""
    command = _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    lines = [f"process {pid}: {command[:500]}"]
    try:
        threads = sorted(os.listdir(f"/proc/{pid}/task"), key=int)  # noqa: PTH208
    except OSError:
        return ""
    for thread in threads[:200]:
        base = f"/proc/{pid}/task/{thread}"
        state = next(
            (x for x in _read(f"{base}/status").splitlines() if x.startswith("State:")), "State: gone"
        )
        at = _read(f"{base}/wchan").strip("0 \n")
        lines.append(f"  thread {thread} {_read(f'{base}/comm').strip()}: {state[6:].strip()} {at}".rstrip())
    if not (_hears(pid, signal.SIGUSR1) or _hears(pid, signal.SIGABRT)):
        lines.append("  it does not tell its Python stacks: faulthandler.register(signal.SIGUSR1) lets it")
    return "\n".join(lines)


def _append(path: str, text: str) -> None:
    try:
        with Path(path).open("ab") as file:
            file.write(text.encode(errors="replace") + b"\n")
    except OSError:
        return


def _wait_until_told(path: str, before: int, dying: Collection[int], *, is_told_by_all: bool) -> None:
    """Those that die have told all when they are dead, the others when nothing more comes."""
    until = time.monotonic() + _WAIT_S
    size, since = before, time.monotonic()
    while time.monotonic() < until:
        time.sleep(0.02)
        now = size_of(path)
        if now != size:
            size, since = now, time.monotonic()
        is_quiet = size > before and time.monotonic() - since > _QUIET_S
        if (is_told_by_all or is_quiet) and all(map(_is_over, dying)):
            return


def _is_over(pid: int) -> bool:
    """Whether it has ended; its parent may not have heard yet."""
    state = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return not state or state[0] in ("Z", "X")


def _written(path: str, offset: int) -> str:
    try:
        with Path(path).open("rb") as file:
            file.seek(offset)
            return file.read(_TEXT_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_bytes().decode(errors="replace")
    except OSError:
        return ""
