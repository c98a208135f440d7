"""Runs as people see them: live ones from memory, ended ones from the database; and what changed since a revision.

Nothing is shown that is not on disk, but for progress, which belongs to nobody's log.
"""

import bisect
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

from modelyard.v1 import canvas_pb2, run_pb2
from services.chassis.errors import OutOfRange
from services.chassis.security import ADMIN, Principal
from services.graph.canvases.operators import Operator
from services.graph.convert import run as convert
from services.graph.engine import Engine
from services.graph.model import Graph, OperatorsUnavailable, ProjectNotFound, Role
from services.graph.projects.access import require_role
from services.graph.projects.library import OperatorSource
from services.graph.records.projects import Projects, number_of
from services.graph.records.store import NodeRow, RunRow
from services.graph.runs.machine import RunNotFound
from services.graph.runs.places import Place, find
from services.graph.runs.state import Run, Scope
from services.graph.runs.values import End, GateRecord

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
        if latest is None:
            raise _missing(f"r-{row.number}")
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
        return convert.brief_message(row)

    async def _sinks(self, row: RunRow, graph: Graph) -> Sequence[NodeRow]:
        sinks = set(graph.sinks[: convert.SINKS_MOST])
        if len(sinks) <= 8:
            found = [await self._store.node(row.number, (rank,)) for rank in sorted(sinks)]
            return [node for node in found if node is not None]
        rows = await self._store.nodes(row.number, with_bodies=False)
        return [node for node in rows if node.place[0] in sinks]

    async def nodes(
        self, row: RunRow, most: int, after: Place = (), below: Place = (), *, with_bodies: bool = True
    ) -> list[tuple[Place, canvas_pb2.ExecutionNode]]:
        """Nodes in the total order, those of a body behind the node that executes it; see `RunStore.nodes`."""
        graph, operators = await self._store.graph(row.plan), await self._operators()
        async with self._engine.quiet:
            live = self._engine.state.runs.get(row.number)
            if live is None:
                rows = await self._store.nodes(row.number, below, after, most, with_bodies=with_bodies)
                gates = await self._store.gates(row.number)
                return [(node.place, _ended(graph, node, operators, gates)) for node in rows]
            places = live_places(live, below, after, most, with_bodies=with_bodies)
            found = {place: self._live(live, place, operators) for place in places}
            if (below or with_bodies) and live.node_count > len(graph.nodes):
                for node in await self._store.nodes(row.number, below, after, most, with_bodies=with_bodies):
                    if node.place not in found:
                        found[node.place] = _ended(graph, node, operators, live.gates)
            return sorted(found.items(), key=lambda item: item[0])[:most]

    async def waiting_gates(
        self, row: RunRow, most: int, after: Place = (), below: Place = ()
    ) -> list[tuple[Place, canvas_pb2.ExecutionNode]]:
        """Gates of a run that wait for somebody, in the total order; of an ended one none."""
        operators = await self._operators()
        async with self._engine.quiet:
            live = self._engine.state.runs.get(row.number)
            if live is None:
                return []
            places = [
                place
                for place in sorted(live.waiting_gates())
                if place > after and place[: len(below)] == below
            ]
            return [(place, self._live(live, place, operators)) for place in places[:most]]

    async def node(self, row: RunRow, place: Place) -> canvas_pb2.ExecutionNode | None:
        """One node; None: it is in a body that was not executed."""
        graph, operators = await self._store.graph(row.plan), await self._operators()
        async with self._engine.quiet:
            live = self._engine.state.runs.get(row.number)
            if live is not None and live.node_at(place) is not None:
                return self._live(live, place, operators)
            found = await self._store.node(row.number, place)
        if found is None:
            return None
        return _ended(graph, found, operators, await self._store.gates(row.number))

    async def place_of(self, row: RunRow, node_id: str) -> Place | None:
        """The place of a node, or of one execution of a body, by its id."""
        return find(await self._store.graph(row.plan), node_id)

    async def watch(
        self, row: RunRow, revision: int, *, without_nodes: bool = False, without_bodies: bool = False
    ) -> AsyncIterator[run_pb2.WatchRunResponse]:
        """Every change after a revision until the run has ended, each as it is by then; 0: the present state first.

        No gap and no repeat, over restarts too. Raises RevisionUnknown.
        """
        if revision > self._engine.state.revision:
            raise RevisionUnknown(field="revision", next_step=f"yard graph show r-{row.number}")
        position, is_whole = revision, not revision
        with self._engine.watch(row.number) as watch:
            if is_whole and not without_nodes and (first := await self._first(row.number)) is not None:
                yield first
            while True:
                watch.clear()
                operators = {} if without_nodes else await self._operators()
                async with self._engine.quiet:
                    live, end = self._engine.state.runs.get(row.number), self._engine.state.revision
                    if live is None:
                        break
                    nodes = (
                        []
                        if without_nodes
                        else await self._changed(live, 0 if is_whole else position, operators, without_bodies)
                    )
                    told = _responses(live, position, end, nodes)
                for response in told:
                    yield response
                position, is_whole = end, False
                await watch.wait(GATHER_BRIEF_S if without_nodes else GATHER_S)
        async for response in self._end(row, position, is_whole, without_nodes, without_bodies):
            yield response

    async def _first(self, number: int) -> run_pb2.WatchRunResponse | None:
        """Of a large live run how it stands as a whole: making messages of all of its nodes takes a while."""
        async with self._engine.quiet:
            live = self._engine.state.runs.get(number)
            if live is None or live.node_count <= NODES_A_MESSAGE:
                return None
            return run_pb2.WatchRunResponse(run=convert.live_message(live))

    async def _changed(
        self, live: Run, position: int, operators: Mapping[str, Operator], without_bodies: bool
    ) -> list[canvas_pb2.ExecutionNode]:
        """Nodes of a live run that changed after `position`, 0: all, each as it is."""
        places = changed_since(live, position) if position else live_places(live)
        if without_bodies:
            places = [place for place in places if len(place) == 1]
        messages = {place: self._live(live, place, operators) for place in places if live.node_at(place)}
        if not without_bodies and live.node_count > len(live.graph.nodes):
            for place, sequence, end in await self._committed(live, position):
                if place not in messages:
                    message = convert.node_message(live.graph, place, operators, live.gates.get(place))
                    convert.fill_end(message, end, sequence)
                    messages[place] = message
        return in_log_order(messages.values())

    async def _committed(self, live: Run, position: int) -> list[tuple[Place, int, End]]:
        """Nodes of bodies that were committed after `position`; whose scopes are let go of by now."""
        if position >= live.told_since:
            return [(place, number, end) for revision, place, number, end in live.told if revision > position]
        rows = await self._store.nodes_since(live.spec.number, position, only_bodies=True)
        return [(row.place, row.sequence, row.end) for row in rows]

    async def _end(
        self, row: RunRow, position: int, is_whole: bool, without_nodes: bool, without_bodies: bool
    ) -> AsyncIterator[run_pb2.WatchRunResponse]:
        """What an ended run committed after `position`, and how it ended."""
        graph, operators = await self._store.graph(row.plan), await self._operators()
        nodes = (
            [] if without_nodes else await self._store.nodes_since(row.number, 0 if is_whole else position)
        )
        if without_bodies:
            nodes = [node for node in nodes if len(node.place) == 1]
        gates = await self._store.gates(row.number)
        for start in range(0, len(nodes), NODES_A_MESSAGE):
            response = run_pb2.WatchRunResponse(revision=position)
            for node in nodes[start : start + NODES_A_MESSAGE]:
                response.nodes.append(_ended(graph, node, operators, gates))
            yield response
        ended = await self._store.run(row.number)
        if ended is None:
            raise _missing(f"r-{row.number}")
        if ended.revision > position or is_whole:
            yield run_pb2.WatchRunResponse(revision=ended.revision, run=await self.view(ended))

    def _live(self, live: Run, place: Place, operators: Mapping[str, Operator]) -> canvas_pb2.ExecutionNode:
        message = convert.node_message(live.graph, place, operators, live.gates.get(place))
        scope = live.scope_at(place)
        assert scope is not None
        convert.fill_live(message, scope.nodes[place[-1]], place[-1] < scope.committed)
        return message

    async def _operators(self) -> Mapping[str, Operator]:
        """Who offers what; nobody while the scheduler is away, for runs can be seen all the same."""
        try:
            return await self._source.operators()
        except OperatorsUnavailable:
            return {}


def _responses(
    live: Run, position: int, end: int, nodes: Sequence[canvas_pb2.ExecutionNode]
) -> list[run_pb2.WatchRunResponse]:
    """What changed of a live run after `position`. Only the last message of a round may be resumed from."""
    if not nodes and live.revision <= position:
        return []
    responses = [run_pb2.WatchRunResponse(run=convert.live_message(live))]
    for index, node in enumerate(nodes):
        if index and not index % NODES_A_MESSAGE:
            responses.append(run_pb2.WatchRunResponse())
        responses[-1].nodes.append(node)
    for response in responses:
        response.revision = position
    responses[-1].revision = end
    return responses


def _ended(
    graph: Graph, node: NodeRow, operators: Mapping[str, Operator], gates: Mapping[Place, GateRecord]
) -> canvas_pb2.ExecutionNode:
    message = convert.node_message(graph, node.place, operators, gates.get(node.place))
    convert.fill_end(message, node.end, node.sequence)
    return message


def in_log_order(nodes: Iterable[canvas_pb2.ExecutionNode]) -> list[canvas_pb2.ExecutionNode]:
    """What is committed by its place in the committed log, then what goes on."""
    return sorted(nodes, key=lambda node: (not node.commit_sequence, node.commit_sequence))


def live_places(
    live: Run, below: Place = (), after: Place = (), most: int = 0, *, with_bodies: bool = True
) -> list[Place]:
    """What of a live run is in memory, in the total order; `most` 0: all."""
    if len(below) % 2 == 0:
        whole = live.scope_at((*below, 0))
        scopes = [whole] if whole is not None else []
    else:
        above = live.scope_at(below)
        executed = above.bodies.get(below[-1]) if above is not None else None
        scopes = [scope for _, scope in sorted(executed.scopes.items())] if executed is not None else []
    found: list[Place] = []
    for scope in scopes:
        for place in _places(scope, with_bodies):
            if place > after:
                found.append(place)
                if len(found) == most:
                    return found
    return found


def _places(scope: Scope, with_bodies: bool) -> Iterator[Place]:
    for rank in range(len(scope.nodes)):
        yield (*scope.place, rank)
        executed = scope.bodies.get(rank)
        if executed is not None and with_bodies:
            for _, inner in sorted(executed.scopes.items()):
                yield from _places(inner, with_bodies)


def changed_since(live: Run, position: int) -> list[Place]:
    """Places that changed after `position`, by their latest change."""
    first = bisect.bisect_right(live.changes, position, key=lambda change: change[0])
    latest = dict.fromkeys(place for _, place in reversed(live.changes[first:]))
    return list(reversed(latest))


def _missing(run_id: str) -> RunNotFound:
    return RunNotFound(
        f"there is no run {run_id[:40]}, or it is not yours to see", field="run_id",
        next_step="yard graph runs shows yours",
    )  # fmt: skip
