"""Runs as people see them: live ones from memory, ended ones from the database; and what changed since a revision.

Nothing is shown that is not on disk, but for progress, which belongs to nobody's log.
"""

import bisect
from collections.abc import AsyncIterator, Mapping, Sequence

from modelyard.v1 import canvas_pb2, run_pb2
from services.chassis.errors import OutOfRange
from services.chassis.security import ADMIN, Principal
from services.graph.access import require_role
from services.graph.convert import run as convert
from services.graph.engine import Engine
from services.graph.library import OperatorSource
from services.graph.machine import RunNotFound
from services.graph.model import Graph, OperatorsUnavailable, ProjectNotFound, Role
from services.graph.operators import Operator
from services.graph.projects import Projects, number_of
from services.graph.state import Run
from services.graph.store import NodeRow, RunRow

NODES_A_MESSAGE = 500


class RevisionUnknown(OutOfRange):
    """No revision is that new: list the nodes, and watch from the list's revision."""


def run_number(run_id: str) -> int:
    """The number of "r-7"; raises RunNotFound."""
    digits = run_id.removeprefix("r-")
    if run_id.startswith("r-") and digits.isascii() and digits.isdecimal() and len(digits) <= 15:
        return int(digits)
    raise RunNotFound(
        f"there is no run {run_id[:40]!r}", field="run_id", next_step="yard graph runs shows yours"
    )


class History:
    """Reads; changes nothing."""

    def __init__(self, engine: Engine, projects: Projects, source: OperatorSource) -> None:
        self._engine = engine
        self._store = engine.store
        self._projects = projects
        self._source = source

    async def require(self, run_id: str, caller: Principal, role: Role) -> RunRow:
        """The run's row, if the caller may do this with it. Raises RunNotFound, ProjectForbidden."""
        row = await self._store.run(run_number(run_id))
        if row is None:
            raise _missing(run_id)
        if caller.role == ADMIN or caller.account == row.spec.account:
            return row
        try:
            require_role(caller, await self._projects.get(number_of(row.spec.project)), role)
        except ProjectNotFound as error:
            raise _missing(run_id) from error
        return row

    async def view(self, row: RunRow) -> run_pb2.Run:
        """The run as it is now."""
        live = self._engine.state.runs.get(row.number)
        if live is not None:
            return convert.live_message(live)
        latest = await self._store.run(row.number)
        assert latest is not None
        graph = await self._store.graph(latest.plan)
        if not latest.state.has_ended:
            # It has just ended, and its end is on its way to the disk.
            return convert.ended_message(latest, graph, ())
        return convert.ended_message(latest, graph, await self._sinks(latest, graph))

    async def brief(self, row: RunRow) -> run_pb2.Run:
        """The same without results, for lists."""
        live = self._engine.state.runs.get(row.number)
        if live is not None:
            return convert.live_message(live)
        return convert.ended_message(row, await self._store.graph(row.plan), ())

    async def _sinks(self, row: RunRow, graph: Graph) -> Sequence[NodeRow]:
        sinks = set(graph.sinks[: convert.SINKS_MOST])
        if len(sinks) <= 8:
            found = [await self._store.nodes(row.number, rank, 1) for rank in sorted(sinks)]
            return [rows[0] for rows in found if rows]
        return [node for node in await self._store.nodes(row.number) if node.rank in sinks]

    async def nodes(self, row: RunRow, first: int, most: int) -> list[canvas_pb2.ExecutionNode]:
        """Nodes in the total order, from a rank on."""
        graph = await self._store.graph(row.plan)
        ranks = range(first, min(first + most, len(graph.nodes)))
        live = self._engine.state.runs.get(row.number)
        operators = await self._operators()
        if live is not None:
            return [self._live(live, rank, operators) for rank in ranks]
        ended = {node.rank: node for node in await self._store.nodes(row.number, first, most)}
        messages = []
        for rank in ranks:
            message = convert.node_message(graph, rank, operators)
            if rank in ended:
                convert.fill_end(message, ended[rank].end, ended[rank].sequence)
            messages.append(message)
        return messages

    async def rank_of(self, row: RunRow, node_id: str) -> int | None:
        """The rank of a node by its id."""
        graph = await self._store.graph(row.plan)
        return next((node.rank for node in graph.nodes if node.id == node_id), None)

    async def watch(self, row: RunRow, revision: int) -> AsyncIterator[run_pb2.WatchRunResponse]:
        """Every change after a revision until the run has ended, each as it is by then; 0: the present state first.

        No gap and no repeat, over restarts too. Raises RevisionUnknown.
        """
        if revision > self._engine.released_revision:
            raise RevisionUnknown(field="revision", next_step=f"yard graph show r-{row.number}")
        position, is_first = revision, True
        with self._engine.watch(row.number) as changed:
            while True:
                changed.clear()
                live, end = self._engine.state.runs.get(row.number), self._engine.released_revision
                if live is None:
                    break
                async for response in self._changes(live, position, end, whole=is_first and not revision):
                    yield response
                position, is_first = max(position, end), False
                await changed.wait()
        async for response in self._end(row, position, whole=is_first and not revision):
            yield response

    async def _changes(
        self, live: Run, position: int, end: int, *, whole: bool
    ) -> AsyncIterator[run_pb2.WatchRunResponse]:
        """What of a live run changed after `position`, up to `end`."""
        ranks = range(len(live.nodes)) if whole else changed_since(live, position, end)
        operators = await self._operators() if ranks else {}
        is_changed = live.revision > position or whole or bool(ranks)
        head = run_pb2.WatchRunResponse(revision=end)
        if is_changed:
            head.run.CopyFrom(convert.live_message(live))
        nodes = [self._live(live, rank, operators) for rank in ranks]
        head.nodes.extend(nodes[:NODES_A_MESSAGE])
        if len(nodes) > NODES_A_MESSAGE:
            # Only the last message of a round may be resumed from.
            head.revision = position
        if is_changed:
            yield head
        for start in range(NODES_A_MESSAGE, len(nodes), NODES_A_MESSAGE):
            is_last = start + NODES_A_MESSAGE >= len(nodes)
            some = nodes[start : start + NODES_A_MESSAGE]
            yield run_pb2.WatchRunResponse(revision=end if is_last else position, nodes=some)

    async def _end(
        self, row: RunRow, position: int, *, whole: bool
    ) -> AsyncIterator[run_pb2.WatchRunResponse]:
        """What an ended run committed after `position`, and how it ended."""
        graph, operators = await self._store.graph(row.plan), await self._operators()
        nodes = await self._store.nodes_since(row.number, 0 if whole else position)
        for start in range(0, len(nodes), NODES_A_MESSAGE):
            response = run_pb2.WatchRunResponse(revision=position)
            for node in nodes[start : start + NODES_A_MESSAGE]:
                message = convert.node_message(graph, node.rank, operators)
                convert.fill_end(message, node.end, node.sequence)
                response.nodes.append(message)
            yield response
        ended = await self._store.run(row.number)
        assert ended is not None
        if ended.revision > position or whole:
            yield run_pb2.WatchRunResponse(revision=ended.revision, run=await self.view(ended))

    def _live(self, live: Run, rank: int, operators: Mapping[str, Operator]) -> canvas_pb2.ExecutionNode:
        message = convert.node_message(live.graph, rank, operators)
        convert.fill_live(message, live.nodes[rank], rank < live.committed)
        return message

    async def _operators(self) -> Mapping[str, Operator]:
        """Who offers what; nobody while the scheduler is away, for runs can be seen all the same."""
        try:
            return await self._source.operators()
        except OperatorsUnavailable:
            return {}


def changed_since(live: Run, position: int, end: int) -> list[int]:
    """Ranks that changed after `position` and up to `end`, by their latest change."""
    latest: dict[int, int] = {}
    for revision, rank in live.changes[bisect.bisect_right(live.changes, (position, len(live.nodes))) :]:
        if revision > end:
            break
        latest.pop(rank, None)
        latest[rank] = revision
    return list(latest)


def _missing(run_id: str) -> RunNotFound:
    return RunNotFound(
        f"there is no run {run_id[:40]}, or it is not yours to see", field="run_id",
        next_step="yard graph runs shows yours",
    )  # fmt: skip
