"""What the graph service knows of where things come from: canvas → run → node, from node to node, what was computed
before. Each only for who may see the run. Reads; changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from modelyard.v1 import lineage_pb2 as pb
from services.chassis.rpc.lineage import BESIDE, DOWN, UP, Ask, Found, Source, link, paged, thing
from services.chassis.security import ADMIN
from services.graph.engine import Engine
from services.graph.model import Body, Graph, PlannedNode, Role
from services.graph.projects.access import require_role
from services.graph.records.projects import Project, Projects, Version, number_of
from services.graph.records.store import NodeRow, RunRow
from services.graph.runs import caching
from services.graph.runs.machine import RunNotFound
from services.graph.runs.places import Place, body_at, find, id_at, node_at, place_of
from services.graph.runs.state import Run
from services.graph.runs.values import Detail, End
from services.graph.telling.history import History, live_places

_LAST = 1 << 60
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


class RunLineage:
    """Of canvases, runs and their nodes."""

    def __init__(self, engine: Engine, projects: Projects, history: History) -> None:
        self._engine = engine
        self._store = engine.store
        self._projects = projects
        self._history = history

    def sources(self) -> Mapping[int, Source]:
        return {
            pb.THING_KIND_CANVAS: self.canvas, pb.THING_KIND_RUN: self.run, pb.THING_KIND_NODE: self.node,
            pb.THING_KIND_ARTIFACT: self.artifact, pb.THING_KIND_MODEL_VERSION: self.model_version,
        }  # fmt: skip

    async def canvas(self, ask: Ask) -> Found:
        """A version of a project, "p-1:4", or the latest, "p-1". Raises ProjectNotFound, VersionNotFound."""
        name, _, number = ask.id.partition(":")
        project = await self._projects.get(number_of(name))
        require_role(ask.caller, project, Role.VIEWER)
        version = await self._projects.version(project, int(number) if _is_number(number) else 0)
        links = []
        if version.parent and not ask.cursor:
            parent = thing(pb.THING_KIND_CANVAS, f"{project.id}:{version.parent}", name=project.name)
            links.append(link(UP, parent, "saved on"))
        rows = []
        if ask.wants(DOWN):
            rows = await self._store.runs(None, number_of(project.id), (), ask.offset or _LAST, ask.most)
            mine = [row for row in rows if row.spec.version == version.version]
            links += [link(DOWN, _run_thing(row), "ran as") for row in mine]
        cursor = str(rows[-1].number) if len(rows) == ask.most else ""
        return Found(_canvas_thing(project, version), links, cursor)

    async def run(self, ask: Ask) -> Found:
        """Raises RunNotFound."""
        row = await self._history.require(ask.id, ask.caller, Role.VIEWER)
        event = await self._store.event_of_run(row.number)
        links = [] if ask.cursor else [*_of_run(row), *_of_event(event)]
        nodes: list[NodeRow] = []
        if ask.wants(DOWN):
            after = place_of(f"{ask.offset:05x}") if ask.cursor else ()
            nodes = await self._store.nodes(row.number, after=after, most=ask.most, with_bodies=False)
            graph = await self._store.graph(row.plan)
            links += [link(DOWN, _node_thing(row, graph, one.place, one.end), "node") for one in nodes]
        return Found(_run_thing(row), links, str(nodes[-1].place[0]) if len(nodes) == ask.most else "")

    async def node(self, ask: Ask) -> Found:
        """ "r-3/n5/0/n1", or by its task: "r-3@t-12". Raises RunNotFound."""
        run_id, mark, rest = re.match(r"([^/@]*)([/@]?)(.*)", ask.id, re.DOTALL).groups()  # type: ignore[union-attr]
        row = await self._history.require(run_id, ask.caller, Role.VIEWER)
        graph = await self._store.graph(row.plan)
        place = await self._of_task(row, rest) if mark == "@" else find(graph, rest)
        if place is None or len(place) % 2 == 0:
            raise RunNotFound(f"{run_id} has no node {rest[:100]!r}", field="subject.id")
        end = await self._end(row, place)
        links = [*_of_node(row, graph, place, end)]
        if body_at(node_at(graph, place)) is not None:
            below = await self._store.nodes(row.number, below=place, with_bodies=False)
            links += [
                link(BESIDE, _node_thing(row, graph, one.place, one.end), f"execution {one.place[-2]}")
                for one in below
            ]
        return paged(ask, _node_thing(row, graph, place, end), links)

    async def artifact(self, ask: Ask) -> Found:
        """Runs that triggers started because it was new."""
        return await self._started(ask, "artifact", f"artifact:{ask.id}", None)

    async def model_version(self, ask: Ask) -> Found:
        """Runs that triggers started because it had become ready."""
        model, _, version = ask.id.partition(":")
        return await self._started(ask, "model", f"version:{version}", model)

    async def _started(self, ask: Ask, kind: str, key: str, model: str | None) -> Found:
        account = None if ask.caller.role == ADMIN else ask.caller.account
        runs = await self._store.runs_of_event(account, kind, key, model)
        return paged(
            ask, None, [link(DOWN, thing(pb.THING_KIND_RUN, f"r-{run}"), "started a run") for run in runs]
        )

    async def _end(self, row: RunRow, place: Place) -> End | None:
        """As it is committed, else as far as it is."""
        found = await self._store.node(row.number, place)
        if found is not None:
            return found.end
        async with self._engine.quiet:
            live = self._engine.state.runs.get(row.number)
            node = live.node_at(place) if live is not None else None
            return node.end or End(node.detail, task=node.task) if node is not None else None

    async def _of_task(self, row: RunRow, task: str) -> Place | None:
        """Where the node stands that a task ran for."""
        if not task:
            return None
        async with self._engine.quiet:
            live = self._engine.state.runs.get(row.number)
            if live is not None and (place := _living(live, task)) is not None:
                return place
        return await self._store.place_of_task(row.number, task)


def _living(live: Run, task: str) -> Place | None:
    """Of a task that runs, or whose node is not committed yet."""
    if task in live.tasks:
        return live.tasks[task]
    for place in live_places(live):
        node = live.node_at(place)
        if node is not None and task in (node.task, node.end.task if node.end is not None else ""):
            return place
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9


def _canvas_thing(project: Project, version: Version) -> pb.Thing:
    return thing(
        pb.THING_KIND_CANVAS, f"{project.id}:{version.version}", name=project.name,
        time_ms=version.create_time_ms, account=project.account,
    )  # fmt: skip


def _run_thing(row: RunRow) -> pb.Thing:
    return thing(
        pb.THING_KIND_RUN, f"r-{row.number}", name=row.spec.comment, state=row.state.value,
        time_ms=row.end_ms or row.spec.create_ms, account=row.spec.account,
    )  # fmt: skip


def _node_thing(row: RunRow, graph: Graph, place: Place, end: End | None) -> pb.Thing:
    node = node_at(graph, place)
    return thing(
        pb.THING_KIND_NODE, f"r-{row.number}/{id_at(graph, place)}", name=node.operator or node.kind.value,
        state=end.detail.value if end is not None else Detail.WAITING.value,
        time_ms=end.end_ms if end is not None else 0, account=row.spec.account,
    )  # fmt: skip


def _of_run(row: RunRow) -> Iterator[pb.Link]:
    spec = row.spec
    yield link(UP, thing(pb.THING_KIND_CANVAS, f"{spec.project}:{spec.version}"), "canvas")
    if spec.continued_from:
        yield link(UP, thing(pb.THING_KIND_RUN, f"r-{spec.continued_from}"), "continues")
    for name, digest in _named(json.loads(spec.params or "{}")):
        yield link(UP, thing(pb.THING_KIND_ARTIFACT, digest), f"parameter {name}")


def _of_event(event: str) -> Iterator[pb.Link]:
    """What a trigger started it by."""
    found = json.loads(event or "{}")
    if found.get("kind") == "artifact":
        yield link(UP, thing(pb.THING_KIND_ARTIFACT, str(found["digest"])), "started by")
    elif found.get("kind") in ("version", "alias"):
        version = f"{found['model']}:{found['version']}"
        yield link(UP, thing(pb.THING_KIND_MODEL_VERSION, version), "started by")


def _named(params: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Parameters that name an artefact."""
    for name, value in params.items():
        if isinstance(value, str) and (match := _DIGEST.fullmatch(value)):
            yield name, match[1]


def _of_node(row: RunRow, graph: Graph, place: Place, end: End | None) -> Iterator[pb.Link]:
    yield link(UP, _run_thing(row), "node of")
    yield from _wired(row, graph, place)
    if end is None:
        return
    if end.task:
        yield link(BESIDE, thing(pb.THING_KIND_TASK, end.task), "ran as")
    if earlier := caching.computed_where(end.reason) if end.detail is Detail.CACHED else None:
        yield link(UP, thing(pb.THING_KIND_NODE, "{}/{}".format(*earlier)), "computed before, by")
    for output in end.outputs:
        for digest in output.digests:
            yield link(DOWN, thing(pb.THING_KIND_ARTIFACT, digest), f"output {output.port}")


def _wired(row: RunRow, graph: Graph, place: Place) -> Iterator[pb.Link]:
    """Whom it got values from, and who got its own: in the same graph, or in the node whose body it is of."""
    inside, above = graph, None
    if len(place) > 1:
        above = body_at(node_at(graph, place[:-2]))
        assert above is not None
        inside = above.graph
    node = inside.nodes[place[-1]]

    def named(rank: int) -> pb.Thing:
        other = inside.nodes[rank]
        at = id_at(graph, (*place[:-1], rank))
        return thing(pb.THING_KIND_NODE, f"r-{row.number}/{at}", name=other.operator or other.kind.value)

    for edge in node.inputs:
        if not edge.is_order:
            yield link(UP, named(edge.source), f"input {edge.port}")
    for rank in node.successors:
        for port in _taken(inside.nodes[rank], place[-1]):
            yield link(DOWN, named(rank), f"input {port} of")
    if above is not None and _is_at_rim(above, place[-1]):
        outer = thing(pb.THING_KIND_NODE, f"r-{row.number}/{id_at(graph, place[:-2])}")
        yield link(BESIDE, outer, f"execution {place[-2]} of")


def _taken(node: PlannedNode, source: int) -> Iterator[str]:
    for edge in node.inputs:
        if edge.source == source and not edge.is_order:
            yield edge.port


def _is_at_rim(body: Body, rank: int) -> bool:
    """Whether it gets what the body is given, or gives what comes of it."""
    return any(port.node == rank for port in (*body.inputs, *body.outputs))
