"""What tasks hold and get where their specification says nothing: the same for scheduler and agents."""

CALLS_SERVICES = ("model.", "train.")
"""Operators whose names begin so call the yard's services: they are given a token, and where services are."""

CPU = 1.0
WAITING_CPU = 0.1
"""Of what mostly waits: others need the cores meanwhile."""


def cpu_of(operator: str) -> float:
    """Cores of a task that names none; "": it is no operator."""
    return WAITING_CPU if operator.startswith(CALLS_SERVICES) else CPU
