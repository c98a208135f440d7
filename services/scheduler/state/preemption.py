"""What is being cleared for whom. A value."""

import msgspec


class Preemption(msgspec.Struct, frozen=True):
    """``node`` is being cleared for the head by these attempts of tasks; all have ended by ``end_ms``, wall clock."""

    node: str
    victims: tuple[tuple[int, int], ...]
    end_ms: int
