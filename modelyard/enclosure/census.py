"""What a process and all below it hold in memory, read from /proc."""

from __future__ import annotations

import os

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROCESSES_MOST = 4_096


def holds_more_than(pid: int, most_bytes: int) -> bool:
    """Whether the process and its descendants hold more memory of their own than that; files are left out."""
    family = _family(pid)
    # What processes share since a fork counts for each here; only if that is too much it is looked at closely.
    return sum(map(_seen_bytes, family)) > most_bytes < sum(map(_held_bytes, family))


def _family(pid: int) -> list[int]:
    found = [pid]
    for seen in range(_PROCESSES_MOST):
        if seen >= len(found):
            break
        found += _children(found[seen])
    return found


def _seen_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123
            fields = file.read().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES


def _held_bytes(pid: int) -> int:
    """Shared pages in equal shares."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123
            for line in file:
                if line.startswith(b"Pss_Anon:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return 0
    # A kernel that does not tell it apart.
    return _seen_bytes(pid)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    except OSError:
        return found
    return found
