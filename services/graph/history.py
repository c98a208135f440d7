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
GATHER_S = 0.01
"""A watcher is told no oftener; the first message and the end of a run do not wait."""
GATHER_BRIEF_S = 0.1


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
        async with self._engine.quiet:
            live = self._engine.state.runs.get(row.number)
            if live is not None:
                return convert.live_message(live)
        latest = await self._store.run(row.number)
        assert latest is not None
        graph = await self._store.graph(latest.plan)
        return convert.ended_message(latest, graph, await self._sinks(latest, graph))

    async def brief(self, row: RunRow) -> run_pb2.Run:
        """The same without results, for lists."""
        async with self._engine.quiet:
            live = self._engine.state.runs.get(row.number)
            if live is not None:
                return convert.live_message(live)
        if not row.state.has_ended:
            row = await self._store.run(row.number) or row
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
        operators = await self._operators()
        async with self._engine.quiet:
            live = self._engine.state.runs.get(row.number)
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

    async def watch(
        self, row: RunRow, revision: int, *, without_nodes: bool = False
    ) -> AsyncIterator[run_pb2.WatchRunResponse]:
        """Every change after a revision until the run has ended, each as it is by then; 0: the present state first.

        No gap and no repeat, over restarts too. Raises RevisionUnknown.
        """
        if revision > self._engine.state.revision:
            raise RevisionUnknown(field="revision", next_step=f"yard graph show r-{row.number}")
        position, is_whole = revision, not revision
        with self._engine.watch(row.number) as watch:
            while True:
                watch.clear()
                operators = {} if without_nodes else await self._operators()
                async with self._engine.quiet:
                    live, end = self._engine.state.runs.get(row.number), self._engine.state.revision
                    if live is None:
                        break
                    told = self._changes(live, position, end, operators, is_whole, without_nodes)
                for response in told:
                    yield response
                position, is_whole = end, False
                await watch.wait(GATHER_BRIEF_S if without_nodes else GATHER_S)
        async for response in self._end(row, position, is_whole, without_nodes):
            yield response

    def _changes(
        self,
        live: Run,
        position: int,
        end: int,
        operators: Mapping[str, Operator],
        is_whole: bool,
        without_nodes: bool,
    ) -> list[run_pb2.WatchRunResponse]:
        """What of a live run changed after `position`. Only the last message of a round may be resumed from."""
        ranks: Sequence[int] = range(len(live.nodes)) if is_whole else changed_since(live, position)
        if not ranks and live.revision <= position:
            return []
        head = run_pb2.WatchRunResponse(run=convert.live_message(live))
        if without_nodes:
            ranks = ()
        responses = [head]
        for place, rank in enumerate(ranks):
            if place and not place % NODES_A_MESSAGE:
                responses.append(run_pb2.WatchRunResponse())
            responses[-1].nodes.append(self._live(live, rank, operators))
        for response in responses:
            response.revision = position
        responses[-1].revision = end
        return responses

    async def _end(
        self, row: RunRow, position: int, is_whole: bool, without_nodes: bool
    ) -> AsyncIterator[run_pb2.WatchRunResponse]:
        """What an ended run committed after `position`, and how it ended."""
        graph, operators = await self._store.graph(row.plan), await self._operators()
        nodes = (
            [] if without_nodes else await self._store.nodes_since(row.number, 0 if is_whole else position)
        )
        for start in range(0, len(nodes), NODES_A_MESSAGE):
            response = run_pb2.WatchRunResponse(revision=position)
            for node in nodes[start : start + NODES_A_MESSAGE]:
                message = convert.node_message(graph, node.rank, operators)
                convert.fill_end(message, node.end, node.sequence)
                response.nodes.append(message)
            yield response
        ended = await self._store.run(row.number)
        assert ended is not None
        if ended.revision > position or is_whole:
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


def changed_since(live: Run, position: int) -> list[int]:
    """Ranks that changed after `position`, by their latest change."""
    first = bisect.bisect_right(live.changes, (position, len(live.nodes)))
    latest = dict.fromkeys(rank for _, rank in reversed(live.changes[first:]))
    return list(reversed(latest))


def _missing(run_id: str) -> RunNotFound:
    return RunNotFound(
        f"there is no run {run_id[:40]}, or it is not yours to see", field="run_id",
        next_step="yard graph runs shows yours",
    )  # fmt: skip
