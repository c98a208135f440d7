"""What a cgroup tells about memory, in both versions of the interface.

Owns the reading only; cgroups are made, limited and removed by the agent.
"""

from pathlib import Path


def out_of_memory_count(directory: str) -> int:
    """How many processes the kernel has ended there for want of memory."""
    for name in ("memory.events", "memory.oom_control"):
        for line in _read(directory, name).splitlines():
            word, _, count = line.partition(" ")
            if word == "oom_kill":
                return int(count)
    return 0


def memory_peak_bytes(directory: str) -> int:
    """The most memory that it ever held; 0 where it is not a memory cgroup."""
    for name in ("memory.peak", "memory.max_usage_in_bytes"):
        text = _read(directory, name).strip()
        if text.isdigit():
            return int(text)
    return 0


def _read(directory: str, name: str) -> str:
    try:
        return (Path(directory) / name).read_text(encoding="ascii")
    except OSError:
        return ""
