"""How often agents beat and how long they are believed; both stretch as the fleet grows. Pure."""

BEAT_MS = 2_000
# Of all agents together.
BEATS_PER_S = 500
LEASE_MS = 15_000
MISSED_BEATS = 3
JITTER_MS = 500


def beat_ms(nodes: int) -> int:
    """Between two beats of one of this many agents."""
    return max(BEAT_MS, nodes * 1000 // BEATS_PER_S)


def lease_ms(nodes: int) -> int:
    """How long an agent may start work after the beat that was last acknowledged."""
    return max(LEASE_MS, 5 * beat_ms(nodes))


def suspect_ms(nodes: int) -> int:
    """After so much silence an agent gets no new work."""
    return MISSED_BEATS * beat_ms(nodes) + JITTER_MS
