"""What a process and all below it hold in memory, read from /proc."""

from __future__ import annotations

import os

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROCESSES_MOST = 4_096


def resident_bytes(pid: int) -> int:
    """Of the process and its descendants; pages that several share count for each, but those of files are left out."""
    total, left = 0, [pid]
    for seen in range(_PROCESSES_MOST):
        if seen >= len(left):
            break
        total += _own_bytes(left[seen])
        left += _children(left[seen])
    return total


def _own_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123
            fields = file.read().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    except OSError:
        return found
    return found
