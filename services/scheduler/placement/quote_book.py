"""Who holds which rooms, and until when: the book of quotes. Pure data; `requests.quotes` changes it.

Quotes are in memory only; a restart of the scheduler forgets them.
"""

from collections import OrderedDict
from collections.abc import Sequence

from services.scheduler.model import Now
from services.scheduler.placement.cluster import Cluster
from services.scheduler.placement.seating import Seat

REMEMBERED_QUOTES = 10_000


class Quote:
    """Rooms on nodes for one account, until a moment."""

    __slots__ = ("account", "expire_ms", "expire_wall_ms", "id", "is_deleted", "lost", "rooms")

    def __init__(self, quote_id: str, account: str, seats: Sequence[Seat]) -> None:
        self.id = quote_id
        self.account = account
        # Node by the room's key.
        self.rooms: dict[int, str] = {seat.room: seat.node.id for seat in seats}
        # Why rooms were lost, for people.
        self.lost: list[str] = []
        self.is_deleted = False
        self.expire_ms = self.expire_wall_ms = 0

    def last(self, ttl_ms: int, now: Now) -> None:
        """It is kept so long from now on."""
        self.expire_ms = now.monotonic_ms + ttl_ms
        self.expire_wall_ms = now.wall_ms + ttl_ms


class QuoteBook:
    """Those that hold capacity, and for a while those that did."""

    def __init__(self) -> None:
        self.live: dict[str, Quote] = {}
        self.ended: OrderedDict[str, Quote] = OrderedDict()

    def end(self, quote: Quote) -> None:
        """It holds nothing any more, and is known for a while."""
        del self.live[quote.id]
        self.ended[quote.id] = quote
        if len(self.ended) > REMEMBERED_QUOTES:
            self.ended.popitem(last=False)

    def count_rooms(self, account: str) -> int:
        return sum(len(quote.rooms) for quote in self.live.values() if quote.account == account)

    def wrong_with(self, cluster: Cluster) -> str:
        """What contradicts itself about rooms; empty where nothing does."""
        quoted = {key: node for quote in self.live.values() for key, node in quote.rooms.items()}
        kept = {key: node.id for node in cluster.nodes.values() for key in node.rooms}
        return "" if quoted == kept else f"rooms {kept} are kept, {quoted} are quoted"
