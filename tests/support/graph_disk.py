"""The graph service's disk: the real `RunStore` on a real SQLite in memory, where a commit is one instant."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

import msgspec

from services.chassis.sqlite import Database, load_migrations, load_queries
from services.graph.places import Place, id_at
from services.graph.store import NodeRow, RunRow, RunStore
from services.graph.values import GateRecord

T = TypeVar("T")
PACKAGE = "services.graph"


@functools.cache
def _empty() -> bytes:
    connection = sqlite3.connect(":memory:")
    for _, script in load_migrations(PACKAGE):
        connection.executescript(script)
    connection.execute("INSERT INTO project (number, account, name, create_time_ms, latest_version, next_sequence)"
                       " VALUES (1, 'ann', 'any', 0, 1, 1)")  # fmt: skip
    connection.commit()
    image = connection.serialize()
    connection.close()
    return image


class _Database:
    """`services.chassis.sqlite.Database` without threads."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.deserialize(_empty())

    async def write(self, change: Callable[[sqlite3.Connection], T], *, is_small: bool = False) -> T:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            result = change(self.connection)
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        return result

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return query(self.connection)


class Disk:
    """What is left when the service dies."""

    def __init__(self) -> None:
        self._database = _Database()
        self.sql = load_queries(PACKAGE)

    def store(self) -> RunStore:
        """With nothing remembered."""
        return RunStore(cast(Database, self._database), self.sql)

    def run(self, number: int) -> RunRow | None:
        return finish(self.store().run(number))

    def committed(self, number: int) -> list[NodeRow]:
        """In the order of the committed log."""
        return finish(self.store().nodes_since(number, -1))

    def log(self, number: int) -> list[tuple[Any, ...]]:
        """The committed log and the run's end, without times, agents and attempts."""
        row = self.run(number)
        assert row is not None
        graph = finish(self.store().graph(row.plan))
        nodes = [
            (
                node.sequence, id_at(graph, node.place), node.end.detail.value, node.end.outputs, node.end.failure,
                node.end.params, node.end.key, node.end.reason, node.end.note,
            )
            for node in self.committed(number)
        ]  # fmt: skip
        return [*nodes, (row.state, row.done, row.error, row.cached, row.failure)]

    def gates(self, number: int) -> dict[Place, GateRecord]:
        return finish(self.store().gates(number))

    def left(self, number: int) -> set[Place]:
        """What has left for agents."""
        rows = self._database.connection.execute("SELECT places FROM batch WHERE run = ?", (number,))
        return {place for [places] in rows for place in msgspec.msgpack.decode(places, type=list[Place])}

    def close(self) -> None:
        self._database.connection.close()


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        return cast(T, end.value)
    raise AssertionError("something waited")
