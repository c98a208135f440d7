"""The live state of runs: what each node waits for, what has ended, how far the log is committed. Pure.

A run is a tree of scopes: its own graph, and one for each execution of a map's or a loop's body. Only the modules of
this room change a run; everything that must outlast the process is told by effects.
"""

from collections import deque
from enum import Enum

import msgspec

from services.chassis.errors import InvariantViolation
from services.graph.model import Graph, Order
from services.graph.runs.caching import CacheIndex
from services.graph.runs.places import Place
from services.graph.runs.shape import Shape
from services.graph.runs.values import Detail, End, Failure, GateRecord, Kept, Output, Piece, PortInput

CHANGES_LEAST = 50_000
TOLD_MOST = 5_000


class RunState(Enum):
    """What a run is doing, or how it ended."""

    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        return self not in (RunState.RUNNING, RunState.PAUSED)


class Start(Enum):
    """When a node may start: with its inputs, or after all that precedes it by the order."""

    READY = "ready"
    STRICT = "strict"


class Spec(msgspec.Struct, frozen=True):
    """What a run was started with. Never changes."""

    number: int
    account: str
    author: str
    project: str
    version: int
    order: Order
    start: Start
    params: str
    """JSON object: the run's parameters with the canvas's defaults below them."""
    max_parallel: int
    refresh: bool
    comment: str
    continued_from: int
    create_ms: int
    again: tuple[str, ...] = ()
    """Of a run that continues another: ids of the nodes that were asked to run again."""
    fresh: tuple[int, ...] = ()
    """Ranks of what runs again for it: nothing within their bodies is kept."""
    contact: str = ""
    """Who is told of it; empty: the account's default contacts."""
    tell_on: tuple[int, ...] = ()
    """Of what, as NotificationEvent counts; none: of all."""
    is_silent: bool = False


class NodeState:
    """What is known of a node until its scope is let go of. `revision`: of its latest change that may be told."""

    __slots__ = (
        "detail", "end", "key", "params", "progress", "ready_ms", "reason", "revision", "sequence", "start_ms", "task",
        "unmet", "wait_ms",
    )  # fmt: skip

    def __init__(self, unmet: int) -> None:
        self.unmet = unmet
        self.detail = Detail.WAITING
        self.end: End | None = None
        self.task = ""
        self.params: str | None = None
        """Once they are resolved."""
        self.key = b""
        self.reason = ""
        self.progress: tuple[float, str] | None = None
        self.ready_ms = -1
        """When its inputs were there; −1: they are not."""
        self.start_ms = 0
        self.wait_ms = 0
        self.revision = 0
        self.sequence = 0
        """Place in the committed log, from 1."""


class Scope:
    """One execution of a graph: of a run's own, or of a body."""

    __slots__ = (
        "barrier", "bodies", "committed", "consumers", "errors", "first_open", "held", "inputs", "is_gone", "kept",
        "level", "next_effect", "nodes", "open_by_level", "parent", "place", "shape",
    )  # fmt: skip

    def __init__(self, shape: Shape, place: Place = (), parent: "Scope | None" = None) -> None:
        self.shape = shape
        self.place = place
        """() of the run itself, else that of the node whose body it executes, and which execution it is."""
        self.parent = parent
        self.nodes = [NodeState(unmet) for unmet in shape.unmet]
        self.inputs: dict[str, PortInput] = {}
        """What a body gets, by its inputs' names."""
        self.kept: dict[int, Kept] = {}
        self.bodies: dict[int, Bodies] = {}
        """By rank, what maps and loops have begun and is not committed."""
        self.committed = 0
        """The commit pointer: nodes below this rank are committed."""
        self.held: set[int] = set()
        """Ranks that wait for nothing but the order."""
        self.barrier = len(shape.graph.nodes)
        """Nothing behind this rank starts any more: its node failed, and an edge says that all fails with it."""
        self.first_open = 0
        """The least rank that has not ended."""
        self.open_by_level = [*shape.levels]
        self.level = 0
        self.next_effect = 0
        self.consumers = [*shape.consumers]
        """How many have yet to be committed as done that need the values."""
        self.errors = 0
        self.is_gone = False
        """Let go of before it ended: nothing of it is wanted any more."""

    @property
    def has_ended(self) -> bool:
        """Whether every node has, or never will start."""
        return self.first_open >= len(self.nodes) or self.first_open > self.barrier

    @property
    def is_committed(self) -> bool:
        return self.committed == len(self.nodes)

    def is_behind(self, rank: int) -> bool:
        """Whether the node may not start any more."""
        if rank > self.barrier:
            return True
        if self.parent is None:
            return False
        at, number = self.place[-2:]
        return number > self.parent.bodies[at].last or self.parent.is_behind(at)


class Bodies:
    """The executions of one node's body. Numbered from 0; opened and committed in that order."""

    __slots__ = ("committed", "inputs", "last", "next", "scopes")

    def __init__(self, inputs: dict[str, PortInput], last: int) -> None:
        self.inputs = inputs
        """What every execution gets."""
        self.last = last
        """The last number that there will be, as far as is known."""
        self.scopes: dict[int, Scope] = {}
        self.next = 0
        self.committed = 0


class MapBodies(Bodies):
    """One execution for each item, or batch of items."""

    __slots__ = ("effect_turn", "ended", "failures", "frontier", "given", "items", "shown", "total")

    def __init__(self, inputs: dict[str, PortInput], items: list[PortInput], total: int) -> None:
        super().__init__(inputs, len(items) - 1)
        self.items = items
        self.total = total
        """Items in all; as many as there are executions unless they go in batches."""
        self.given: list[tuple[tuple[Piece, ...], ...] | Failure | None] = [None] * len(items)
        """By number, once it has ended: by output of the body what each of its items gave; or why it failed."""
        self.frontier = 0
        """The least number that has not ended."""
        self.ended = 0
        self.failures = 0
        """Items that failed below the frontier."""
        self.effect_turn = 0
        """Whose nodes with effects may start."""
        self.shown = 0
        """Hundredths of it that watchers know of."""


class LoopBodies(Bodies):
    """One execution a round; each gets what the one before gave."""

    __slots__ = ("given", "is_deciding", "values")

    def __init__(self, inputs: dict[str, PortInput], most: int) -> None:
        super().__init__(inputs, most - 1)
        self.values = dict(inputs)
        self.given: dict[str, Output | None] = {}
        """What the last round gave, by output of the body."""
        self.is_deciding = False
        """What its condition looks at is being read."""


class Run:
    """One run that has not ended."""

    def __init__(self, spec: Spec, graph: Graph) -> None:
        self.spec = spec
        self.graph = graph
        self.state = RunState.RUNNING
        self.revision = 0
        self.root = Scope(Shape(graph))
        self.ready: list[Place] = []
        """Heap of what may start."""
        self.running: set[Place] = set()
        """What is on agents, or on its way."""
        self.aside: set[Place] = set()
        """Control nodes, or executions of bodies, that wait for something to be read or kept."""
        self.gates: dict[Place, GateRecord] = {}
        self.tasks: dict[str, Place] = {}
        self.changed: dict[Place, str] = {}
        """What was asked to be laid over parameters before the node started."""
        self.expected: dict[Place, str] = {}
        """What had left before the service was started, with its task once that is known."""
        self.early: dict[Place, End] = {}
        """How of that ended what has not come up here again."""
        self.log: dict[Place, tuple[int, int, End]] = {}
        """Sequence, revision and end of what is committed, of scopes that have not come up again."""
        self.sequence = 0
        self.changes: list[tuple[int, Place]] = []
        """(revision, place) of what may be told, ascending; what a watcher goes through."""
        self.told: deque[tuple[int, Place, int, End]] = deque()
        """Revision, place, sequence and end of nodes of bodies committed lately, whose scopes are let go of."""
        self.told_since = 0
        """What of them was committed after this revision is in `told`."""
        self._changes_most = CHANGES_LEAST
        self.node_count = len(graph.nodes)
        """Nodes of bodies count from when their execution began."""
        self.counts = {"done": 0, "error": 0, "cached": 0}
        self.has_failed = False
        self.order_wait_ms = 0
        self.first_failure: Failure | None = None

    @property
    def busy(self) -> int:
        """How many are on agents, also those that have not come up again since the service was started."""
        return len(self.running) + len(self.expected) - len(self.early)

    def note_change(self, revision: int, place: Place) -> None:
        """Something of a node may be told. What was told of nodes that are let go of is forgotten now and then."""
        self.changes.append((revision, place))
        if len(self.changes) > self._changes_most:
            latest = {place: revision for revision, place in self.changes if self.node_at(place) is not None}
            self.changes = sorted((revision, place) for place, revision in latest.items())
            self._changes_most = 2 * len(self.changes) + CHANGES_LEAST

    def note_commit(self, revision: int, place: Place, sequence: int, end: End) -> None:
        """A node of a body was committed."""
        self.told.append((revision, place, sequence, end))
        if len(self.told) > TOLD_MOST:
            self.told_since = self.told.popleft()[0]

    def scope_at(self, place: Place) -> Scope | None:
        """The scope of the node at a place; None: it has not begun, or is let go of."""
        scope = self.root
        if len(place) < 2:
            return scope
        for step in range(0, len(place) - 1, 2):
            bodies = scope.bodies.get(place[step])
            found = bodies.scopes.get(place[step + 1]) if bodies is not None else None
            if found is None:
                return None
            scope = found
        return scope

    def waiting_gates(self) -> list[Place]:
        """Gates that wait for somebody, in no order."""
        undecided = [place for place, record in self.gates.items() if record.is_approved is None]
        return [place for place in undecided if self._is_gated(place)]

    def _is_gated(self, place: Place) -> bool:
        node = self.node_at(place)
        return node is not None and node.end is None and node.detail is Detail.GATED

    def may_start(self, place: Place) -> bool:
        """Whether what is on the heap is still wanted."""
        scope = self.scope_at(place)
        return scope is not None and scope.nodes[place[-1]].end is None and not scope.is_behind(place[-1])

    def node_at(self, place: Place) -> NodeState | None:
        """What is known of the node at a place."""
        scope = self.scope_at(place)
        return None if scope is None else scope.nodes[place[-1]]


class State:
    """All runs that have not ended, and what the cache holds."""

    def __init__(self, next_run: int = 1, revision: int = 0) -> None:
        self.runs: dict[int, Run] = {}
        self.next_run = next_run
        self.revision = revision
        self.next_batch = 1
        self.cache = CacheIndex()
        self.deadlines: dict[tuple[int, Place], int] = {}
        """Gates that do not wait for ever: when they end, in milliseconds."""


def check_invariants(state: State) -> None:
    """Raises InvariantViolation where the state contradicts itself. For tests."""
    for number, run in state.runs.items():
        _check_scope(number, run, run.root)
        for place in run.running:
            node = run.node_at(place)
            if node is None or node.end is not None:
                raise InvariantViolation(f"run {number}: {place} has ended and runs")
        waits = (
            run.running or run.ready or run.aside or any(g.is_approved is None for g in run.gates.values())
        )
        if not waits and run.state is RunState.RUNNING and not run.root.is_committed:
            raise InvariantViolation(f"run {number} waits for nothing")


def _check_scope(number: int, run: Run, scope: Scope) -> None:
    for rank, node in enumerate(scope.nodes):
        if rank < scope.committed and node.end is None:
            raise InvariantViolation(f"run {number}: {(*scope.place, rank)} is committed and has not ended")
    for rank, bodies in scope.bodies.items():
        if rank < scope.committed:
            raise InvariantViolation(f"run {number}: the body of {(*scope.place, rank)} is not let go of")
        if sorted(bodies.scopes) != [*range(bodies.committed, bodies.next)]:
            raise InvariantViolation(f"run {number}: executions of {(*scope.place, rank)} are missing")
        for inner in bodies.scopes.values():
            _check_scope(number, run, inner)
    first = scope.committed
    if not scope.place and first < len(scope.nodes) and scope.nodes[first].end is not None:
        raise InvariantViolation(f"run {number}: {first} could be committed")
