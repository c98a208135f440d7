"""The rows of runs: writes what a step wants kept, and gives it back. Knows SQL, decides nothing.

Every function handed to the database runs inside one transaction.
"""

import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.chassis.requests.marks import Kept as KeptAnswer
from services.chassis.storage.sqlite import Database
from services.graph.model import Graph
from services.graph.records.rows import ORDER, rows_of
from services.graph.runs import effects as e
from services.graph.runs.caching import CacheEntry
from services.graph.runs.places import Place, place_of, text_of
from services.graph.runs.results import stripped
from services.graph.runs.state import RunState, Spec
from services.graph.runs.values import End, Failure, GateRecord, Kept, Output

EPOCH_REVISIONS = 1_000_000
"""Revisions of progress are shown and not stored: after a start numbering goes on beyond them."""
SMALL_ROWS = 12
"""So few are committed without a hop to the database's thread."""
PLANS_REMEMBERED = 16

_PACK = msgspec.msgpack.Encoder().encode
_END = msgspec.msgpack.Decoder(End)
_OUTPUTS = msgspec.msgpack.Decoder(tuple[Output, ...])
_SPEC = msgspec.msgpack.Decoder(Spec)
# Before there were bodies a node was named by its rank.
_PLACES = msgspec.msgpack.Decoder(tuple[int | tuple[int, ...], ...])
_CHANGED = msgspec.msgpack.Decoder(dict[int | str, str])
_FAILURE = msgspec.msgpack.Decoder(Failure)
_GRAPH = msgspec.msgpack.Decoder(Graph)


class RunRow(msgspec.Struct, frozen=True):
    """A run as it lies on disk."""

    number: int
    plan: int
    spec: Spec
    changed: dict[Place, str]
    state: RunState
    revision: int
    end_ms: int = 0
    done: int = 0
    error: int = 0
    cached: int = 0
    order_wait_ms: int = 0
    failure: Failure | None = None
    node_count: int = 0
    """Of its plan: without nodes of bodies."""


class NodeRow(msgspec.Struct, frozen=True):
    """A committed node."""

    place: Place
    sequence: int
    revision: int
    end: End


class BatchRow(msgspec.Struct, frozen=True):
    number: int
    request_id: str
    places: tuple[Place, ...]
    content: bytes
    first_task: str


class LiveRun(msgspec.Struct, frozen=True):
    """Everything that is known of a run that has not ended."""

    row: RunRow
    graph: Graph
    nodes: list[NodeRow]
    kept: dict[int, Kept]
    batches: list[BatchRow]
    modified: dict[Place, str]
    gates: dict[Place, GateRecord]
    revision: int
    """Below this all is on disk that was ever told."""


class Recovered(msgspec.Struct, frozen=True):
    next_run: int
    next_batch: int
    revision: int
    runs: list[LiveRun]
    cache: list[tuple[tuple[str, bytes], CacheEntry]]


class RunStore:
    """The repository of runs, on the graph service's database."""

    def __init__(self, database: Database, sql: Mapping[str, str]) -> None:
        self.database = database
        self._sql = sql
        self._plans: dict[int, Graph] = {}

    async def persist(
        self, rows: Sequence[e.Row], revision: int, answers: Sequence[tuple[KeptAnswer[int], int]] = ()
    ) -> None:
        """All or none, durable on return. `answers` keep what is answered for a run with it."""

        def change(c: sqlite3.Connection) -> None:
            self._persist(c, rows, revision)
            for kept, run in answers:
                kept(c, run)

        await self.database.write(change, is_small=len(rows) <= SMALL_ROWS)

    def _persist(self, c: sqlite3.Connection, rows: Sequence[e.Row], revision: int) -> None:
        by_query: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        below = [row for row in rows if isinstance(row, e.DropBelow)]
        for row in rows:
            if not isinstance(row, e.DropBelow):
                rows_of(row, by_query)
        for name in ORDER:
            if name in by_query:
                values = by_query[name]
                if len(values) == 1:
                    c.execute(self._sql[name], values[0])
                else:
                    c.executemany(self._sql[name], values)
        for row in below:
            self._drop_below(c, row)
        c.execute(self._sql["set_meta"], ("revision", revision))

    def _drop_below(self, c: sqlite3.Connection, row: e.DropBelow) -> None:
        at = text_of(row.place)
        found = c.execute(self._sql["values_below"], (row.run, f"{at}.", f"{at}/")).fetchall()
        changed = [(_PACK(stripped(_OUTPUTS.decode(outputs))), row.run, place) for place, outputs in found]
        c.executemany(self._sql["drop_outputs"], changed)

    async def plan(self, graph: Graph) -> int:
        """The number under which the graph is kept. Idempotent."""

        def keep(c: sqlite3.Connection) -> int:
            found = c.execute(self._sql["find_plan"], (graph.digest,)).fetchone()
            if found is not None:
                return int(found[0])
            packed = zlib.compress(_PACK(graph), 1)
            values = (graph.digest, len(graph.nodes), packed)
            return int(c.execute(self._sql["insert_plan"], values).fetchone()[0])

        number = await self.database.write(keep)
        self._remember(number, graph)
        return number

    async def graph(self, plan: int) -> Graph:
        """The graph of a plan."""
        known = self._plans.get(plan)
        if known is None:
            known = await self.database.read(lambda c: self._graph(c, plan))
            self._remember(plan, known)
        return known

    def _graph(self, c: sqlite3.Connection, plan: int) -> Graph:
        [packed] = c.execute(self._sql["get_plan"], (plan,)).fetchone()
        return _GRAPH.decode(zlib.decompress(packed))

    def _remember(self, plan: int, graph: Graph) -> None:
        self._plans.pop(plan, None)
        self._plans[plan] = graph
        while len(self._plans) > PLANS_REMEMBERED:
            del self._plans[next(iter(self._plans))]

    async def begin(self) -> Recovered:
        """What is there after a start; numbering of revisions goes on beyond all that was ever shown."""
        return await self.database.write(self._begin)

    def _begin(self, c: sqlite3.Connection) -> Recovered:
        found = c.execute(self._sql["get_meta"], ("revision",)).fetchone()
        revision = (found[0] if found else 0) + EPOCH_REVISIONS
        c.execute(self._sql["set_meta"], ("revision", revision))
        [next_run] = c.execute(self._sql["next_run"]).fetchone()
        [next_batch] = c.execute(self._sql["next_batch"]).fetchone()
        runs = [
            self._live(c, _run_row(row), revision) for row in c.execute(self._sql["live_runs"]).fetchall()
        ]
        cache = [
            ((account, key), CacheEntry(run, size, bool(has_artifacts)))
            for account, key, run, size, has_artifacts in c.execute(self._sql["all_cached"])
        ]
        return Recovered(next_run, next_batch, revision, runs, cache)

    def _live(self, c: sqlite3.Connection, row: RunRow, revision: int) -> LiveRun:
        number = row.number
        batches = [
            BatchRow(batch, request_id, _places(places), content, first)
            for batch, request_id, places, content, first in c.execute(self._sql["batches"], (number,))
        ]
        return LiveRun(
            row,
            self._graph(c, row.plan),
            [_node_row(found) for found in c.execute(self._sql["run_nodes"], (number, "", "g", -1))],
            {
                place_of(place)[0]: Kept(of, _END.decode(end))
                for place, of, end in c.execute(self._sql["kept_nodes"], (number,))
            },
            batches,
            {
                place_of(place): params
                for place, params in c.execute(self._sql["node_modifications"], (number,))
            },
            self._gates(c, number),
            revision,
        )

    async def run(self, number: int) -> RunRow | None:
        found = await self.database.read(lambda c: c.execute(self._sql["get_run"], (number,)).fetchone())
        return _run_row(found) if found else None

    async def runs(
        self, account: str | None, project: int, states: Sequence[RunState], before: int, most: int
    ) -> list[RunRow]:
        """Newest first. `account` None: everybody's; `project` 0: of any; no `states`: whatever theirs is."""
        name = (
            "list_runs_of_project"
            if project
            else "list_runs_of_account"
            if account is not None
            else "list_runs"
        )
        values = {"account": account, "project": project, "before": before, "most": most}

        def query(c: sqlite3.Connection) -> list[Any]:
            found: list[Any] = []
            for state in states or RunState:
                found += c.execute(self._sql[name], {**values, "state": state.value})
            return sorted(found, reverse=True, key=lambda row: row[0])[:most]

        return [_run_row(row) for row in await self.database.read(query)]

    async def is_in_use(self, project: int) -> bool:
        """Whether a run of the project goes on."""
        found = await self.database.read(
            lambda c: c.execute(self._sql["has_live_run"], (project,)).fetchone()
        )
        return found is not None

    async def nodes(
        self, run: int, below: Place = (), after: Place = (), most: int = -1, *, with_bodies: bool = True
    ) -> list[NodeRow]:
        """Committed nodes by place; most −1: all.

        `below`: only those within the bodies of that node, or within that execution of one. `after`: from behind there.
        `with_bodies` False: only nodes of the graph that is looked at itself.
        """
        low = text_of(after) if after else f"{text_of(below)}." if below else ""
        high = f"{text_of(below)}/" if below else "g"
        depth = len(below) + (1 if len(below) % 2 == 0 else 2)
        query = "run_nodes" if with_bodies else "run_nodes_level"
        values = (run, low, high, *(() if with_bodies else (6 * depth - 1,)), most)
        found = await self.database.read(lambda c: c.execute(self._sql[query], values).fetchall())
        return [_node_row(row) for row in found]

    async def executions(self, run: int, above: Place, first: int, last: int) -> list[NodeRow]:
        """Committed nodes of executions of the body of a node, without what those execute themselves."""
        low, high = text_of((*above, first)), f"{text_of((*above, last))}/"
        values = (run, low, high, 6 * (len(above) + 2) - 1, -1)
        query = self._sql["run_nodes_level"]
        found = await self.database.read(lambda c: c.execute(query, values).fetchall())
        return [_node_row(row) for row in found]

    async def node(self, run: int, place: Place) -> NodeRow | None:
        """One committed node."""
        values = (run, text_of(place))
        found = await self.database.read(lambda c: c.execute(self._sql["run_node"], values).fetchone())
        return _node_row(found) if found else None

    async def event_of_run(self, run: int) -> str:
        """JSON of what a trigger started it by; empty: nothing did."""
        query = self._sql["event_of_run"]
        found = await self.database.read(lambda c: c.execute(query, (run,)).fetchone())
        return str(found[0]) if found else ""

    async def runs_of_event(self, account: str | None, kind: str, key: str, model: str | None) -> list[int]:
        """Runs that triggers of an account (None: of all) started by an event, by its kind and key."""
        values = {"account": account, "kind": kind, "key": key, "model": model}
        query = self._sql["runs_of_event"]
        return await self.database.read(lambda c: [run for (run,) in c.execute(query, values)])

    async def place_of_task(self, run: int, task: str) -> Place | None:
        """Where the committed node stands that a task ran for."""
        if len(task) > 31:
            return None
        # As msgpack writes a short text: rows that do not have it need not be read whole.
        needle = bytes([0xA0 | len(task)]) + task.encode()
        query = self._sql["run_nodes_with"]
        found = await self.database.read(lambda c: c.execute(query, (run, needle)).fetchall())
        return next((row.place for row in map(_node_row, found) if row.end.task == task), None)

    async def nodes_since(self, run: int, revision: int, *, only_bodies: bool = False) -> list[NodeRow]:
        """Committed nodes that changed after a revision, in the order of the committed log."""
        values = (run, revision, 5 if only_bodies else 0)
        found = await self.database.read(lambda c: c.execute(self._sql["run_nodes_since"], values).fetchall())
        return [_node_row(row) for row in found]

    async def gates(self, run: int) -> dict[Place, GateRecord]:
        """Gates that were reached."""
        return await self.database.read(lambda c: self._gates(c, run))

    def _gates(self, c: sqlite3.Connection, run: int) -> dict[Place, GateRecord]:
        return {
            place_of(place): GateRecord(
                open_ms, None if approved is None else bool(approved), account, comment, decide_ms
            )
            for place, open_ms, approved, account, comment, decide_ms in c.execute(self._sql["gates"], (run,))
        }

    async def batch(self, number: int) -> tuple[int, BatchRow] | None:
        """A batch with its run, if it is still there."""
        found = await self.database.read(lambda c: c.execute(self._sql["get_batch"], (number,)).fetchone())
        if found is None:
            return None
        run, request_id, places, content = found
        return run, BatchRow(number, request_id, _places(places), content, "")

    async def cached(
        self, keys: Sequence[tuple[str, bytes]]
    ) -> list[tuple[int, str, tuple[Output, ...]] | None]:
        """Run, node id and outputs of each entry; None: it is not there."""

        def query(c: sqlite3.Connection) -> list[tuple[int, str, tuple[Output, ...]] | None]:
            rows = [c.execute(self._sql["get_cached"], key).fetchone() for key in keys]
            return [(row[0], row[1], _OUTPUTS.decode(row[2])) if row else None for row in rows]

        return await self.database.read(query)


def _run_row(row: Sequence[Any]) -> RunRow:
    number, plan, spec, changed, state, revision, *rest = row
    patched = {_place(key): params for key, params in _CHANGED.decode(changed).items()}
    row_of = (number, plan, _SPEC.decode(spec), patched, RunState(state), revision)
    if not rest:
        return RunRow(*row_of)
    end_ms, done, error, cached, wait_ms, failure, node_count = rest
    ended = _FAILURE.decode(failure) if failure else None
    return RunRow(*row_of, end_ms, done, error, cached, wait_ms, ended, node_count)


def _node_row(row: Sequence[Any]) -> NodeRow:
    place, sequence, revision, outputs, ended = row
    end = msgspec.structs.replace(_END.decode(ended), outputs=_OUTPUTS.decode(outputs))
    return NodeRow(place_of(place), sequence, revision, end)


def _place(key: int | str) -> Place:
    return (key,) if isinstance(key, int) else place_of(key)


def _places(packed: bytes) -> tuple[Place, ...]:
    return tuple([(one,) if isinstance(one, int) else one for one in _PLACES.decode(packed)])
