"""The rows of runs: writes what a step wants kept, and gives it back. Knows SQL, decides nothing.

Every function handed to the database runs inside one transaction.
"""

import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.chassis.marks import Kept as KeptAnswer
from services.chassis.sqlite import Database
from services.graph import effects as e
from services.graph.model import Graph
from services.graph.state import CacheEntry, End, Failure, Kept, Output, RunState, Spec

EPOCH_REVISIONS = 1_000_000
"""Revisions of progress are shown and not stored: after a start numbering goes on beyond them."""
SMALL_ROWS = 12
"""So few are committed without a hop to the database's thread."""
PLANS_REMEMBERED = 16

_PACK = msgspec.msgpack.Encoder().encode
_END = msgspec.msgpack.Decoder(End)
_OUTPUTS = msgspec.msgpack.Decoder(tuple[Output, ...])
_SPEC = msgspec.msgpack.Decoder(Spec)
_RANKS = msgspec.msgpack.Decoder(tuple[int, ...])
_CHANGED = msgspec.msgpack.Decoder(dict[int, str])
_FAILURE = msgspec.msgpack.Decoder(Failure)
_GRAPH = msgspec.msgpack.Decoder(Graph)


class RunRow(msgspec.Struct, frozen=True):
    """A run as it lies on disk."""

    number: int
    plan: int
    spec: Spec
    changed: dict[int, str]
    state: RunState
    revision: int
    end_ms: int = 0
    done: int = 0
    error: int = 0
    cached: int = 0
    order_wait_ms: int = 0
    failure: Failure | None = None


class NodeRow(msgspec.Struct, frozen=True):
    """A committed node."""

    rank: int
    sequence: int
    revision: int
    end: End


class BatchRow(msgspec.Struct, frozen=True):
    number: int
    request_id: str
    ranks: tuple[int, ...]
    content: bytes
    first_task: str


class LiveRun(msgspec.Struct, frozen=True):
    """Everything that is known of a run that has not ended."""

    row: RunRow
    graph: Graph
    nodes: list[NodeRow]
    kept: dict[int, Kept]
    batches: list[BatchRow]
    modified: dict[int, str]


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
        for row in rows:
            _VALUES[type(row)](row, by_query)
        for name in _ORDER:
            if name in by_query:
                values = by_query[name]
                if len(values) == 1:
                    c.execute(self._sql[name], values[0])
                else:
                    c.executemany(self._sql[name], values)
        c.execute(self._sql["set_meta"], ("revision", revision))

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
        runs = [self._live(c, _run_row(row)) for row in c.execute(self._sql["live_runs"]).fetchall()]
        cache = [
            ((account, key), CacheEntry(run, size, bool(has_artifacts)))
            for account, key, run, size, has_artifacts in c.execute(self._sql["all_cached"])
        ]
        return Recovered(next_run, next_batch, revision, runs, cache)

    def _live(self, c: sqlite3.Connection, row: RunRow) -> LiveRun:
        number = row.number
        batches = [
            BatchRow(batch, request_id, _RANKS.decode(ranks), content, first)
            for batch, request_id, ranks, content, first in c.execute(self._sql["batches"], (number,))
        ]
        return LiveRun(
            row,
            self._graph(c, row.plan),
            [_node_row(found) for found in c.execute(self._sql["run_nodes"], (number, 0, -1))],
            {r: Kept(of, _END.decode(end)) for r, of, end in c.execute(self._sql["kept_nodes"], (number,))},
            batches,
            dict(c.execute(self._sql["node_modifications"], (number,)).fetchall()),
        )

    async def run(self, number: int) -> RunRow | None:
        found = await self.database.read(lambda c: c.execute(self._sql["get_run"], (number,)).fetchone())
        return _run_row(found) if found else None

    async def runs(
        self, account: str | None, project: int, states: Sequence[RunState], before: int, most: int
    ) -> list[RunRow]:
        """Newest first. `account` None: everybody's; `project` 0: of any."""
        words = f" {' '.join(state.value for state in states)} " if states else ""
        values = {"account": account, "project": project, "states": words, "before": before, "most": most}
        found = await self.database.read(lambda c: c.execute(self._sql["list_runs"], values).fetchall())
        return [_run_row(row) for row in found]

    async def is_in_use(self, project: int) -> bool:
        """Whether a run of the project goes on."""
        found = await self.database.read(
            lambda c: c.execute(self._sql["has_live_run"], (project,)).fetchone()
        )
        return found is not None

    async def nodes(self, run: int, first: int = 0, most: int = -1) -> list[NodeRow]:
        """Committed nodes from a rank on; most −1: all."""
        values = (run, first, most)
        found = await self.database.read(lambda c: c.execute(self._sql["run_nodes"], values).fetchall())
        return [_node_row(row) for row in found]

    async def nodes_since(self, run: int, revision: int) -> list[NodeRow]:
        """Committed nodes that changed after a revision."""
        values = (run, revision)
        found = await self.database.read(lambda c: c.execute(self._sql["run_nodes_since"], values).fetchall())
        return [_node_row(row) for row in found]

    async def batch(self, number: int) -> tuple[int, BatchRow] | None:
        """A batch with its run, if it is still there."""
        found = await self.database.read(lambda c: c.execute(self._sql["get_batch"], (number,)).fetchone())
        if found is None:
            return None
        run, request_id, ranks, content = found
        return run, BatchRow(number, request_id, _RANKS.decode(ranks), content, "")

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
    row_of = (number, plan, _SPEC.decode(spec), _CHANGED.decode(changed), RunState(state), revision)
    if not rest:
        return RunRow(*row_of)
    end_ms, done, error, cached, wait_ms, failure = rest
    return RunRow(
        *row_of, end_ms, done, error, cached, wait_ms, _FAILURE.decode(failure) if failure else None
    )


def _node_row(row: Sequence[Any]) -> NodeRow:
    rank, sequence, revision, outputs, ended = row
    end = msgspec.structs.replace(_END.decode(ended), outputs=_OUTPUTS.decode(outputs))
    return NodeRow(rank, sequence, revision, end)


def _bare(end: End) -> bytes:
    """Without the outputs, which have a column of their own."""
    return _PACK(msgspec.structs.replace(end, outputs=()))


By = dict[str, list[tuple[Any, ...]]]


def _insert_run(row: e.InsertRun, by: By) -> None:
    spec = row.spec
    project = int(spec.project.removeprefix("p-"))
    values = (spec.number, spec.account, project, row.plan, _PACK(spec), _PACK(row.changed), row.revision)
    by["insert_run"].append(values)


def _keep_node(row: e.KeepNode, by: By) -> None:
    by["insert_kept"].append((row.run, row.rank, row.from_run, _PACK(row.end)))


def _insert_batch(row: e.InsertBatch, by: By) -> None:
    by["insert_batch"].append((row.batch, row.run, row.request_id, _PACK(row.ranks), row.content))


def _record_tasks(row: e.RecordTasks, by: By) -> None:
    by["record_tasks"].append((row.first_task, row.batch))


def _drop_batch(row: e.DropBatch, by: By) -> None:
    by["delete_batch"].append((row.batch,))


def _commit_node(row: e.CommitNode, by: By) -> None:
    values = (row.run, row.rank, row.sequence, row.revision, _PACK(row.end.outputs), _bare(row.end))
    by["insert_run_node"].append(values)


def _drop_outputs(row: e.DropOutputs, by: By) -> None:
    by["drop_outputs"].append((_PACK(row.outputs), row.run, row.rank))


def _put_cached(row: e.PutCached, by: By) -> None:
    has_artifacts = any(output.digest for output in row.outputs)
    values = (row.account, row.key, row.run, row.node_id, _PACK(row.outputs), row.size_bytes)
    by["put_cached"].append((*values, has_artifacts, row.time_ms, row.time_ms))


def _touch_cached(row: e.TouchCached, by: By) -> None:
    by["touch_cached"].append((row.time_ms, row.account, row.key))


def _drop_cached(row: e.DropCached, by: By) -> None:
    by["drop_cached"].append((row.account, row.key))


def _record_run_state(row: e.RecordRunState, by: By) -> None:
    failure = _PACK(row.failure) if row.failure is not None else None
    by["end_run"].append(
        (
            row.state.value, row.revision, row.end_ms, row.done, row.error, row.cached, row.order_wait_ms, failure,
            row.run,
        )
    )  # fmt: skip
    if row.state.has_ended:
        by["delete_batches"].append((row.run,))
        by["delete_kept"].append((row.run,))


def _insert_modification(row: e.InsertModification, by: By) -> None:
    by["insert_node_modification"].append((row.run, row.rank, row.revision, row.params, row.time_ms))


_VALUES: dict[type, Any] = {
    e.InsertRun: _insert_run,
    e.KeepNode: _keep_node,
    e.InsertBatch: _insert_batch,
    e.RecordTasks: _record_tasks,
    e.DropBatch: _drop_batch,
    e.CommitNode: _commit_node,
    e.DropOutputs: _drop_outputs,
    e.PutCached: _put_cached,
    e.TouchCached: _touch_cached,
    e.DropCached: _drop_cached,
    e.RecordRunState: _record_run_state,
    e.InsertModification: _insert_modification,
}
# Within a transaction: what a row refers to before it.
_ORDER = (
    "insert_run", "insert_kept", "insert_batch", "record_tasks", "delete_batch", "insert_run_node", "drop_outputs",
    "insert_node_modification", "put_cached", "touch_cached", "drop_cached", "end_run", "delete_batches", "delete_kept",
)  # fmt: skip
