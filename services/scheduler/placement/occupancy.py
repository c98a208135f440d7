"""How busy a node is, as placement counts it (S0.3, S0.4).

occupancy of a resource = max(reserved, window mean + estimates of commands newer than the beat) / capacity;
a node's is that of its worst resource. The middle term is what keeps a burst from piling onto the node that
looked idle when it was last measured; it never exceeds what is reserved, because what has ended already will not
show in any later figure. Pure.
"""

from collections.abc import Mapping

WINDOWS_S = (1, 10, 60)
PLACEMENT_WINDOW_S = 10


def ratio(capacity: int, reserved: int, measured: int, newer: int) -> float:
    """One resource's occupancy; a resource that the node lacks is full."""
    if capacity <= 0:
        return 1.0
    return max(reserved, measured + min(newer, reserved)) / capacity


def worst(
    capacity: Mapping[str, int],
    reserved: Mapping[str, int],
    measured: Mapping[str, int],
    newer: Mapping[str, int],
) -> float:
    """The occupancy of a node: that of its worst resource."""
    most = 0.0
    for name, amount in capacity.items():
        if amount > 0:
            held = reserved.get(name, 0)
            busy = measured.get(name, 0) + min(newer.get(name, 0), held)
            share = (held if held > busy else busy) / amount
            if share > most:
                most = share
    return most
