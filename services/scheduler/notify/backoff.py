"""When a message that was not taken is tried again, and when it is given up. Pure."""

from services.scheduler.notify.model import LONGEST_DELAY_S, MOST_ATTEMPTS

JITTER = 0.2


def delay_ms(failures: int, first_s: float, chance: float) -> int | None:
    """How long to wait after the ``failures``-th failure; None: it is given up. ``chance`` is within 0 … 1."""
    if failures >= MOST_ATTEMPTS:
        return None
    delay_s: float = min(first_s * 2.0 ** (failures - 1), LONGEST_DELAY_S)
    return round(delay_s * (1 - JITTER + 2 * JITTER * chance) * 1000)
