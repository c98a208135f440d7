"""Canvases that were read, judged and planned: each once (S1.3).

A canvas that was found right with certain operators is not looked at again, also after a restart; what was parsed or
planned lately is at hand. Large canvases are worked on beside the event loop.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from services.chassis.clock import Clock
from services.graph.canvases import document
from services.graph.canvases.canvas import Canvas, Node
from services.graph.canvases.layout import PlanTooLarge
from services.graph.canvases.operators import Catalogue as Operators
from services.graph.canvases.operators import operators_digest
from services.graph.canvases.planning import plan
from services.graph.canvases.problems import Problem, Reason
from services.graph.canvases.validation import validate
from services.graph.convert.work import Bodies, SettingInvalid
from services.graph.model import CanvasInvalid, CanvasUnreadable, Graph, Order
from services.graph.records.projects import Projects, Version

SMALL_NODES = 300
"""A canvas of so many nodes is worked on at once; more would hold up other calls."""
REMEMBERED_NODES = 200_000
"""Of all canvases, and of all graphs, that are kept at hand."""
TOLD_MOST = 20
"""Problems that an error tells; ValidateCanvas tells all."""

T = TypeVar("T")


class OperatorSource(Protocol):
    """Who knows the operators."""

    async def operators(self) -> Operators:
        """By name."""
        ...


class Verdict(msgspec.Struct, frozen=True):
    """What was found about a canvas. `key` names canvas and operators."""

    problems: tuple[Problem, ...]
    key: str
    was_known: bool


class Library:
    """Reads, judges, plans."""

    def __init__(self, projects: Projects, source: OperatorSource, clock: Clock) -> None:
        self._projects = projects
        self._source = source
        self._clock = clock
        self._bodies = Bodies()
        self._canvases = _Shelf[Canvas]()
        self._graphs = _Shelf[Graph]()
        self._right: OrderedDict[str, None] = OrderedDict()
        self.judged = 0
        """How many canvases were looked at."""
        self.spared = 0
        """How many were known to be right."""

    async def canvas(self, version: Version) -> Canvas:
        """The canvas of a saved version."""
        found = self._canvases.get(version.digest)
        if found is None:
            text = await self._projects.document(version)
            found, problems = await _beside(version.node_count, lambda: document.read(text))
            if problems:
                raise CanvasUnreadable(f"version {version.version} cannot be read: {problems[0].message}")
            self._canvases.put(version.digest, found, version.node_count)
        return found

    def learn(self, canvas: Canvas, digest: str) -> None:
        """A canvas that was just saved."""
        self._canvases.put(digest, canvas, len(canvas.nodes))

    async def judge(self, canvas: Canvas, digest: str = "") -> Verdict:
        """Everything that is wrong with the canvas. Raises OperatorsUnavailable."""
        operators = await self._source.operators()
        size = _size(canvas)

        def key_of() -> str:
            named = f"{digest or document.digest(canvas)} {operators_digest(canvas, operators)}"
            return hashlib.sha256(named.encode()).hexdigest()

        key = await _beside(size, key_of)
        if key in self._right or await self._projects.is_valid(key):
            self.spared += 1
            self._remember(key)
            return Verdict((), key, True)
        self.judged += 1
        problems = await _beside(size, lambda: validate(canvas, operators, self._check_settings))
        if not problems:
            try:
                await self._plan(canvas, key, operators, Order.LEVELS)
            except PlanTooLarge as error:
                problems = (Problem(Reason.TOO_LARGE, str(error)),)
        if not problems:
            await self._projects.remember_valid(key, self._clock.now_ms())
            self._remember(key)
        return Verdict(problems, key, False)

    async def graph(self, canvas: Canvas, order: Order, digest: str = "") -> Graph:
        """The execution graph of a canvas in an order. Raises CanvasInvalid, OperatorsUnavailable."""
        verdict = await self.judge(canvas, digest)
        if verdict.problems:
            raise invalid(verdict.problems)
        return await self.planned(canvas, verdict, order)

    async def planned(self, canvas: Canvas, verdict: Verdict, order: Order) -> Graph:
        """The graph of a canvas that was found right. Raises CanvasInvalid where it is too large."""
        try:
            return await self._plan(canvas, verdict.key, await self._source.operators(), order)
        except PlanTooLarge as error:
            raise invalid((Problem(Reason.TOO_LARGE, str(error)),)) from error

    async def _plan(self, canvas: Canvas, key: str, operators: Operators, order: Order) -> Graph:
        found = self._graphs.get((key, order))
        if found is None:
            found = await _beside(_size(canvas), lambda: plan(canvas, key, operators, self._bodies, order))
            self._graphs.put((key, order), found, len(found.nodes))
        return found

    def _check_settings(self, node: Node) -> tuple[str, str] | None:
        if not (node.operator or node.command is not None):
            return None
        try:
            self._bodies(node)
        except SettingInvalid as error:
            return error.field, str(error)
        return None

    def _remember(self, key: str) -> None:
        self._right[key] = None
        self._right.move_to_end(key)
        if len(self._right) > 10_000:
            self._right.popitem(last=False)


class _Shelf(Generic[T]):
    """The values that were used last, as many as have REMEMBERED_NODES nodes together."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._nodes = 0

    def get(self, key: Hashable) -> T | None:
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: T, nodes: int) -> None:
        before = self._kept.pop(key, None)
        self._nodes += nodes + 1 - (before[1] if before else 0)
        self._kept[key] = (value, nodes + 1)
        while self._nodes > REMEMBERED_NODES and len(self._kept) > 1:
            _, (_, gone) = self._kept.popitem(last=False)
            self._nodes -= gone


def invalid(problems: tuple[Problem, ...]) -> CanvasInvalid:
    """The error that tells the first problems."""
    return CanvasInvalid(
        f"the canvas has {len(problems)} {'errors' if len(problems) > 1 else 'error'}: {told(problems)}",
        field="canvas",
        next_step="yard graph validate shows all of them",
        metadata={"reasons": ",".join(dict.fromkeys(problem.reason.value for problem in problems))},
    )


def unreadable(problems: tuple[Problem, ...]) -> CanvasUnreadable:
    """The error that tells what of a document could not be read."""
    return CanvasUnreadable(
        f"the document is not a canvas: {told(problems)}", field="canvas",
        next_step="yard graph validate shows all of it",
    )  # fmt: skip


def told(problems: tuple[Problem, ...]) -> str:
    """The first problems in one line."""
    listed = [
        f"{problem.node or problem.edge}{': ' if problem.node or problem.edge else ''}{problem.message}"
        + (f" ({problem.field})" if problem.field else "")
        for problem in problems[:TOLD_MOST]
    ]
    more = len(problems) - len(listed)
    return "; ".join(listed) + (f"; and {more} more" if more else "")


def _size(canvas: Canvas) -> int:
    return len(canvas.nodes) + len(canvas.edges) + 100 * len(canvas.subgraphs)


async def _beside(size: int, work: Callable[[], Any]) -> Any:
    """The result of work on something of so many nodes; a large one is worked on in a thread."""
    return work() if size <= SMALL_NODES else await asyncio.to_thread(work)
