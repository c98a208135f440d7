"""The graph service's disk: the real `RunStore` on a real SQLite in memory, where a commit is one instant."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from services.chassis.storage.sqlite import Database, load_queries
from services.graph.records.store import NodeRow, RunRow, RunStore
from services.graph.runs.places import Place, id_at
from services.graph.runs.values import GateRecord
from tests.support.memory_database import MemoryDatabase, finish

PACKAGE = "services.graph"
FIRST = """
INSERT INTO project (number, account, name, create_time_ms, latest_version, next_sequence)
VALUES (1, 'ann', 'any', 0, 1, 1)
"""


class Disk:
    """What is left when the service dies."""

    def __init__(self) -> None:
        self._database = MemoryDatabase(PACKAGE, FIRST)
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
