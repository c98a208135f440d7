"""Errands: what is owed after a commit is done in order, again while the other is away, once it is done no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from modelyard.errors import CallRefused, ConnectionFailed, YardError
from services.chassis.clock import SystemClock
from services.chassis.process.supervise import Loops
from services.chassis.steps.errands import Errand, Errands
from services.chassis.storage.sqlite import Database, load_migrations, load_queries
from services.graph.peers.carriers import Cancellations, References
from services.graph.records.owing import Cancellation, Kind, Reference
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio
SQL = load_queries("services.graph")


class Book:
    """A carrier that notes what it did, and refuses as often as it is told to."""

    def __init__(self) -> None:
        self.done: list[tuple[str, list[bytes]]] = []
        self.failures: list[YardError] = []
        self.open = asyncio.Event()
        self.open.set()

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        await self.open.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.done.append((account, [errand.content for errand in errands]))


class Yard:
    def __init__(self, database: Database, loops: Loops) -> None:
        self.database = database
        self.notices, self.references = Book(), Book()
        carriers = {Kind.NOTICE: self.notices, Kind.REFERENCES: self.references}
        self.errands = Errands(database, SQL, SystemClock())
        self.carriers = carriers
        self.loops = loops

    async def start(self) -> None:
        await self.errands.open()
        self.loops.start("errands", self.errands.run(self.carriers))

    async def owe(self, *wishes: tuple[Kind, str, bytes]) -> None:
        """As the engine does: rows with the step, then the errands."""
        made = [self.errands.take(*wish) for wish in wishes]
        rows = [(each.number, each.kind.value, each.account, each.content) for each in made]
        await self.database.write(lambda c: c.executemany(SQL["insert_errand"], rows))
        self.errands.owe(made)

    async def rows(self) -> int:
        return len(await self.database.read(lambda c: c.execute(SQL["all_errands"]).fetchall()))

    async def settled(self) -> None:
        async def is_empty() -> bool:
            return not await self.rows() and not self.errands.owed

        await wait_until(is_empty, "every errand done", timeout_s=10)


@asynccontextmanager
async def yard(path: Path) -> AsyncIterator[Yard]:
    """One process of the service: its end is abrupt."""
    database, loops = await Database.open(path, load_migrations("services.graph")), Loops()
    try:
        yield Yard(database, loops)
    finally:
        await loops.close()
        await database.close()


async def test_errands_are_done_in_order_by_account_and_their_rows_go(tmp_path: Path) -> None:
    async with yard(tmp_path / "g.db") as made:
        await made.start()
        await made.owe((Kind.NOTICE, "ann", b"1"), (Kind.NOTICE, "bob", b"2"), (Kind.REFERENCES, "ann", b"3"))
        await made.owe((Kind.NOTICE, "ann", b"4"))
        await made.settled()
        by_account = {"ann": b"", "bob": b""}
        for account, contents in made.notices.done:
            by_account[account] += b"".join(contents)
        assert by_account == {"ann": b"14", "bob": b"2"}
        assert made.references.done == [("ann", [b"3"])]


async def test_what_comes_while_one_is_under_way_goes_together(tmp_path: Path) -> None:
    async with yard(tmp_path / "g.db") as made:
        await made.start()
        made.references.open.clear()
        for number in range(20):
            await made.owe((Kind.REFERENCES, "ann", b"%d" % number))
        made.references.open.set()
        await made.settled()
        assert len(made.references.done) <= 2
        assert [c for _, contents in made.references.done for c in contents] == [b"%d" % n for n in range(20)]


async def test_service_that_is_away_is_asked_again_and_others_do_not_wait(tmp_path: Path) -> None:
    async with yard(tmp_path / "g.db") as made:
        await made.start()
        made.references.failures = [ConnectionFailed("away", code="UNAVAILABLE") for _ in range(3)]
        await made.owe((Kind.REFERENCES, "ann", b"1"), (Kind.NOTICE, "ann", b"2"))
        await wait_until(lambda: bool(made.notices.done), "the notice")
        assert not made.references.done
        await made.settled()
        assert made.references.done == [("ann", [b"1"])]


async def test_errand_of_a_process_that_died_is_done_by_the_next(tmp_path: Path) -> None:
    async with yard(tmp_path / "g.db") as made:
        await made.errands.open()
        await made.owe((Kind.NOTICE, "ann", b"1"), (Kind.NOTICE, "ann", b"2"))
        assert not made.notices.done
    async with yard(tmp_path / "g.db") as made:
        await made.start()
        await made.owe((Kind.NOTICE, "ann", b"3"))
        await made.settled()
        assert b"".join(c for _, contents in made.notices.done for c in contents) == b"123"
    async with yard(tmp_path / "g.db") as made:
        await made.errands.open()
        assert made.errands.owed == 0


class Store:
    """Takes references of digests that it has; counts calls."""

    def __init__(self, *digests: str) -> None:
        self.digests = set(digests)
        self.held: dict[str, set[str]] = {}
        self.calls = 0
        self.is_away = False

    async def hold(self, account: str, holder: str, digests: Sequence[str]) -> None:
        self.calls += 1
        if self.is_away:
            raise ConnectionFailed("away", code="UNAVAILABLE")
        if not set(digests) <= self.digests:
            raise CallRefused("no such artefact", code="NOT_FOUND", reason="ARTIFACT_NOT_FOUND")
        self.held.setdefault(holder, set()).update(digests)
        if not digests:
            self.held[holder].clear()


def references(*wishes: tuple[str, tuple[str, ...]]) -> list[Errand]:
    return [
        Errand(number, Kind.REFERENCES, "ann", msgspec.msgpack.encode(Reference(*wish)))
        for number, wish in enumerate(wishes)
    ]


async def test_references_of_a_holder_go_together_and_in_order() -> None:
    store = Store("a", "b", "c", "d")
    wishes = [
        ("run:1", ("a",)),
        ("run:1", ("b", "c")),
        ("cache:x", ("a",)),
        ("cache:x", ()),
        ("cache:x", ("d",)),
    ]
    await References(store).carry("ann", references(*wishes))  # type: ignore[arg-type]
    assert store.held == {"run:1": {"a", "b", "c"}, "cache:x": {"d"}}
    assert store.calls == 3


async def test_artefact_that_is_gone_does_not_keep_the_others_from_being_referred_to() -> None:
    store = Store("a", "c")
    wishes = [("run:1", ("a",)), ("run:1", ("gone",)), ("run:1", ("c",))]
    await References(store).carry("ann", references(*wishes))  # type: ignore[arg-type]
    assert store.held == {"run:1": {"a", "c"}}
    store.is_away = True
    with pytest.raises(ConnectionFailed):
        await References(store).carry("ann", references(("run:1", ("a",))))  # type: ignore[arg-type]


class Tasks:
    """Cancels tasks that it knows; one that it does not know refuses all."""

    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.cancelled: set[str] = set()
        self.calls = 0

    async def cancel(self, account: str, tasks: Sequence[str]) -> None:
        self.calls += 1
        if not set(tasks) <= self.known:
            raise CallRefused("no such task", code="NOT_FOUND", reason="TASK_NOT_FOUND")
        self.cancelled.update(tasks)


async def test_cancellation_passes_over_tasks_that_are_forgotten() -> None:
    scheduler = Tasks(*(f"t-{n}" for n in range(100) if n != 37))
    errands = [
        Errand(n, Kind.CANCELLATION, "ann", msgspec.msgpack.encode(Cancellation((f"t-{n}", f"t-{n + 50}"))))
        for n in range(50)
    ]
    await Cancellations(scheduler).carry("ann", errands)  # type: ignore[arg-type]
    assert scheduler.cancelled == scheduler.known
    assert scheduler.calls < 20
