"""Free ports for a yard of its own."""

from __future__ import annotations

from cli.supervisor.ports import STEP, free_base

BASES = range(17_070, 19_070, STEP)
SERVICES = 6


def free_port_base(host: str = "127.0.0.1") -> int:
    """A base whose ports nobody has, one for each service. Raises OSError when there is none."""
    base = free_base(BASES, SERVICES, host=host)
    if base is None:
        raise OSError(f"no {SERVICES} free ports in a row between {BASES[0]} and {BASES[-1]}")
    return base
