"""What a service owes others once a step is on disk: it is carried out after the commit, and survives a kill.

An errand is a row of the step's own transaction, and goes when it is done. Errands of one kind for one account are a
lane: in the order of their steps, as many at a time as have come, again with back-off while the other service is away.
Carriers know how; they must bear being asked twice, for a crash between doing and noting so asks again.
"""

import asyncio
import random
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from modelyard.errors import YardError
from services.chassis.clock import Clock
from services.chassis.errors import ServiceError
from services.chassis.logs import get_logger
from services.chassis.storage.sqlite import Database

AT_ONCE_MOST = 500
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 30.0
# Nothing was said against the errand: the other service is away, full, or knows this one's token later.
_AGAIN = frozenset(
    {
        "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED", "UNKNOWN", "UNAUTHENTICATED",
    }
)  # fmt: skip

_log = get_logger("chassis.errands")


class Errand(msgspec.Struct, frozen=True):
    """A row. The content is its carrier's to read."""

    number: int
    kind: str
    account: str
    content: bytes


Owed = tuple[str, str, bytes]
"""Kind, account and content of an errand to be."""


class Carrier(Protocol):
    """Knows how errands of one kind are done."""

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        """Does them, in this order. What is refused for good is the carrier's to log, by `is_final` and `refused`.

        Raises YardError or ServiceError where they have to be asked again; those that were done then are so again.
        """
        ...


def is_final(error: YardError) -> bool:
    """Whether asking again would be answered the same."""
    return error.code not in _AGAIN


def refused(errand: Errand, error: YardError) -> None:
    """It is not asked again."""
    _log.warning(
        "errand_refused", number=errand.number, kind=errand.kind, account=errand.account, code=error.code,
        reason=error.reason, message=error.message,
    )  # fmt: skip


async def one_by_one(errands: Iterable[Errand], carry: Callable[[Errand], Awaitable[None]]) -> None:
    """In turn; what is refused for good is left. Raises YardError where they have to be asked again."""
    for errand in errands:
        try:
            await carry(errand)
        except YardError as error:
            if not is_final(error):
                raise
            refused(errand, error)


def _nothing() -> None:
    """What a service does before and after an errand unless it says otherwise."""


class Errands:
    """`take` and `owe` are called by the engine, on its event loop; `run` is a loop that the service starts."""

    def __init__(
        self,
        database: Database,
        sql: Mapping[str, str],
        clock: Clock,
        *,
        before: Callable[[], None] = _nothing,
        after: Callable[[], None] = _nothing,
    ) -> None:
        self._before = before
        self._after = after
        self._database = database
        self._sql = sql
        self._clock = clock
        self._next = 1
        self._lanes: dict[tuple[str, str], deque[Errand]] = {}
        self._idle: dict[tuple[str, str], None] = {}
        """Lanes with something in them that nobody walks, as they came."""
        self._wake = asyncio.Event()

    @property
    def owed(self) -> int:
        """How many are not done."""
        return sum(map(len, self._lanes.values()))

    async def open(self, more: Callable[[sqlite3.Connection], Iterable[Owed]] | None = None) -> None:
        """Takes up what an earlier process left; `more` says in the same transaction what else is owed since then."""

        def left(c: sqlite3.Connection) -> list[Errand]:
            found = [Errand(*row) for row in c.execute(self._sql["all_errands"])]
            self._next = found[-1].number + 1 if found else 1
            for kind, account, content in more(c) if more is not None else ():
                errand = self.take(kind, account, content)
                c.execute(self._sql["insert_errand"], (errand.number, kind, account, content))
                found.append(errand)
            return found

        taken = await self._database.write(left)
        self.owe(taken)
        if taken:
            _log.info("errands_taken_up", count=len(taken))

    def take(self, kind: str, account: str, content: bytes) -> Errand:
        """A new one. Its row goes with the step that wants it; after the commit it is handed to `owe`."""
        errand = Errand(self._next, kind, account, content)
        self._next += 1
        return errand

    def write(self, c: sqlite3.Connection, errands: Iterable[Errand]) -> None:
        """Their rows, within a transaction."""
        rows = [(each.number, each.kind, each.account, each.content) for each in errands]
        c.executemany(self._sql["insert_errand"], rows)

    def owe(self, errands: Iterable[Errand]) -> None:
        """They are on disk: from now on they are tried until they are done."""
        for errand in errands:
            lane = errand.kind, errand.account
            if lane not in self._lanes:
                self._lanes[lane] = deque()
                self._idle[lane] = None
            self._lanes[lane].append(errand)
            self._wake.set()

    async def run(self, carriers: Mapping[str, Carrier]) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as walkers:
            while True:
                for lane in list(self._idle):
                    del self._idle[lane]
                    walkers.create_task(self._walk(lane, carriers[lane[0]]))
                self._wake.clear()
                await self._wake.wait()

    async def _walk(self, lane: tuple[str, str], carrier: Carrier) -> None:
        """Until the lane is empty."""
        queue, delay_s = self._lanes[lane], FIRST_DELAY_S
        while queue:
            some = [queue[place] for place in range(min(len(queue), AT_ONCE_MOST))]
            try:
                self._before()
                await carrier.carry(lane[1], some)
                self._after()
                await self._done(some)
            except (YardError, ServiceError) as error:
                _log.warning(
                    "errands_postponed", kind=lane[0], account=lane[1], count=len(queue), reason=error.reason,
                    message=error.message,
                )  # fmt: skip
                await self._clock.sleep(delay_s * (0.5 + random.random() / 2))
                delay_s = min(delay_s * 2, LONGEST_DELAY_S)
                continue
            delay_s = FIRST_DELAY_S
            for _ in some:
                queue.popleft()
        del self._lanes[lane]

    async def _done(self, errands: Sequence[Errand]) -> None:
        numbers = [(errand.number,) for errand in errands]
        sql = self._sql["delete_errand"]
        await self._database.write(lambda c: c.executemany(sql, numbers), is_small=len(numbers) <= 8)
