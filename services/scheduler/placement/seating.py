"""Room for several tasks at once: all of it or none (quotes, gangs).

Room is really kept on the nodes while it is looked for, so that one task's share is not counted for the next; where it
does not suffice everything is given back before anybody sees it. Pure.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from services.scheduler.model import Shape
from services.scheduler.placement.cluster import Cluster, Node
from services.scheduler.placement.placement import Candidates

# Is told, while everything found so far is still kept, for which shape no room was found, after how many, and which
# nodes were not to be used again.
Witness = Callable[[Shape, int, AbstractSet[str]], None]


class Wish(msgspec.Struct, frozen=True):
    """Room for ``count`` tasks; those of one ``group``, unless it is 0, are on nodes of their own each."""

    candidates: Candidates
    count: int
    group: int = 0


class Seat(msgspec.Struct, frozen=True):
    """Room for one task, kept on a node under this key."""

    node: Node
    room: int


def find_seats(
    cluster: Cluster, wishes: Sequence[Wish], witness: Witness | None = None
) -> tuple[Seat, ...] | None:
    """Seats in the order of the wishes; None: not all of them fit, and nothing is kept."""
    seats: list[Seat] = []
    groups: dict[int, set[str]] = {}
    for wish in wishes:
        taken = groups.setdefault(wish.group, set())
        shape = wish.candidates.shape
        for _ in range(wish.count):
            node = wish.candidates.choose(cluster, taken)
            if node is None:
                if witness is not None:
                    witness(shape, len(seats), taken)
                give_up(cluster, seats, is_gain=False)
                return None
            if wish.group:
                taken.add(node.id)
            seats.append(Seat(node, cluster.keep_room(node, shape.amounts).key))
    return tuple(seats)


def give_up(cluster: Cluster, seats: Sequence[Seat], *, is_gain: bool = True) -> None:
    """Returns what was kept and has not been used."""
    for seat in seats:
        cluster.give_up_room(seat.node, seat.room, is_gain=is_gain)
