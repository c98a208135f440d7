"""When a message that was not taken is tried again, and when it is given up. Pure."""

# It doubles up to an hour; with so many attempts, the first delay being 5 s, a message is tried for about a day.
LONGEST_DELAY_S = 3600.0
MOST_ATTEMPTS = 33
JITTER = 0.2


def delay_ms(failures: int, first_s: float, chance: float) -> int | None:
    """How long to wait after the ``failures``-th failure; None: it is given up. ``chance`` is within 0 … 1."""
    if failures >= MOST_ATTEMPTS:
        return None
    delay_s: float = min(first_s * 2.0 ** (failures - 1), LONGEST_DELAY_S)
    return round(delay_s * (1 - JITTER + 2 * JITTER * chance) * 1000)
