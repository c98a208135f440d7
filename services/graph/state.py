"""The live state of runs: what each node waits for, what has ended, how far the log is committed. Pure.

Only `runs.py` changes a run; everything that must outlast the process is told by effects.
"""

from collections import OrderedDict
from enum import Enum

import msgspec

from services.chassis.errors import InvariantViolation
from services.graph.model import Graph, OnError, Order


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


class Detail(Enum):
    """Finer than pending, error, done."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    RETRYING = "retrying"
    GATED = "gated"
    COMPUTED = "computed"
    CACHED = "cached"
    SKIPPED = "skipped"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"

    @property
    def is_error(self) -> bool:
        return self in ERRORS

    @property
    def has_results(self) -> bool:
        return self in (Detail.COMPUTED, Detail.CACHED)


ERRORS = frozenset({Detail.FAILED, Detail.TIMED_OUT, Detail.CANCELLED})


class Output(msgspec.Struct, frozen=True, array_like=True):
    """What a port gave: a small JSON value, or an artefact.

    `content` is the sha256 of its bytes; of a value that was dropped nothing else is left.
    """

    port: str
    value: str = ""
    digest: str = ""
    size_bytes: int = 0
    content: bytes = b""

    @property
    def is_dropped(self) -> bool:
        return not self.value and not self.digest


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Why a node is in error, in the contract's words."""

    cause: int
    message: str
    next_step: str = ""
    exit_code: int = 0
    signal: int = 0
    traceback: str = ""


class End(msgspec.Struct, frozen=True, array_like=True):
    """How a node ended; committed as it is."""

    detail: Detail
    outputs: tuple[Output, ...] = ()
    failure: Failure | None = None
    task: str = ""
    attempt: int = 0
    node: str = ""
    params: str = ""
    key: bytes = b""
    reason: str = ""
    """Why the cache had it, or had it not."""
    ready_ms: int = 0
    start_ms: int = 0
    end_ms: int = 0


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What an earlier run has of a node: good as long as the key is the same."""

    run: int
    end: End


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


class NodeState:
    """What is known of a node until the run is let go of. `revision` is that of its latest change that may be told."""

    __slots__ = (
        "changed", "detail", "end", "key", "params", "progress", "ready_ms", "reason", "revision", "start_ms", "task",
        "unmet", "wait_ms",
    )  # fmt: skip

    def __init__(self, unmet: int) -> None:
        self.unmet = unmet
        self.detail = Detail.WAITING
        self.end: End | None = None
        self.task = ""
        self.params: str | None = None
        """Once they are resolved."""
        self.changed = ""
        """What was asked to be laid over the parameters before it started."""
        self.key = b""
        self.reason = ""
        self.progress: tuple[float, str] | None = None
        self.ready_ms = -1
        """When its inputs were there; −1: they are not."""
        self.start_ms = 0
        self.wait_ms = 0
        self.revision = 0


class Run:
    """One run that has not ended."""

    def __init__(self, spec: Spec, graph: Graph) -> None:
        self.spec = spec
        self.graph = graph
        self.state = RunState.RUNNING
        self.revision = 0
        self.predecessors = [
            tuple(dict.fromkeys(edge.source for edge in node.inputs)) for node in graph.nodes
        ]
        self.feeding = [
            tuple(dict.fromkeys(edge.source for edge in node.inputs if not edge.is_order))
            for node in graph.nodes
        ]
        """By rank, the predecessors that something flows from."""
        self.nodes = [NodeState(len(sources)) for sources in self.predecessors]
        self.committed = 0
        """The commit pointer: nodes below this rank are committed."""
        self.ready: list[int] = []
        """Heap of ranks that may start."""
        self.held: set[int] = set()
        """Ranks that wait for nothing but the order."""
        self.running: set[int] = set()
        """Ranks that are on agents, or on their way."""
        self.tasks: dict[str, int] = {}
        self.kept: dict[int, Kept] = {}
        self.barrier = len(graph.nodes)
        """Nothing behind this rank starts any more: its node failed, and an edge says that the run fails with it."""
        self.first_open = 0
        """The least rank that has not ended."""
        self.open_by_level: list[int] = []
        for node in graph.nodes:
            while len(self.open_by_level) <= node.gradient:
                self.open_by_level.append(0)
            self.open_by_level[node.gradient] += 1
        self.level = 0
        self.effects = [node.rank for node in graph.nodes if node.has_effects]
        self.next_effect = 0
        self.fatal = bytearray(len(graph.nodes))
        """1: an edge out of this rank fails the run."""
        self.consumers = [0] * len(graph.nodes)
        """How many successors by data have not been committed as done."""
        self._count_edges()
        self.changes: list[tuple[int, int]] = []
        """(revision, rank) of what may be told, ascending; what a watcher goes through."""
        self.counts = {"done": 0, "error": 0, "cached": 0}
        self.order_wait_ms = 0
        self.first_failure: tuple[int, Failure] | None = None

    def _count_edges(self) -> None:
        for node in self.graph.nodes:
            for source in self.feeding[node.rank]:
                self.consumers[source] += 1
            for edge in node.inputs:
                if edge.on_error is OnError.FAIL_RUN:
                    self.fatal[edge.source] = 1


class State:
    """All runs that have not ended, and what the cache holds."""

    def __init__(self, next_run: int = 1, revision: int = 0) -> None:
        self.runs: dict[int, Run] = {}
        self.next_run = next_run
        self.revision = revision
        self.next_batch = 1
        self.cache = CacheIndex()


class CacheEntry(msgspec.Struct, frozen=True):
    """`run` put it there: a run never takes what it put itself, else the log would depend on who was quicker."""

    run: int
    size_bytes: int
    has_artifacts: bool


class CacheIndex:
    """Which keys the cache holds, least recently used first; a key is (account, 32 bytes)."""

    def __init__(self, bytes_most: int = 256 << 20, entries_most: int = 200_000) -> None:
        self.bytes_most = bytes_most
        self.entries_most = entries_most
        self.size_bytes = 0
        self._entries: OrderedDict[tuple[str, bytes], CacheEntry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def has(self, key: tuple[str, bytes], run: int) -> bool:
        """Whether it is of use to that run."""
        entry = self._entries.get(key)
        return entry is not None and entry.run != run

    def put(self, key: tuple[str, bytes], entry: CacheEntry) -> list[tuple[tuple[str, bytes], CacheEntry]]:
        """Takes it in; what has to go for it."""
        self.remove(key)
        self._entries[key] = entry
        self.size_bytes += entry.size_bytes
        gone = []
        while self.size_bytes > self.bytes_most or len(self._entries) > self.entries_most:
            oldest, found = self._entries.popitem(last=False)
            self.size_bytes -= found.size_bytes
            gone.append((oldest, found))
        return gone

    def touch(self, key: tuple[str, bytes]) -> None:
        """It was of use."""
        self._entries.move_to_end(key)

    def remove(self, key: tuple[str, bytes]) -> None:
        """It turned out not to be there."""
        found = self._entries.pop(key, None)
        if found is not None:
            self.size_bytes -= found.size_bytes


def check_invariants(state: State) -> None:
    """Raises InvariantViolation where the state contradicts itself. For tests."""
    for number, run in state.runs.items():
        for rank, node in enumerate(run.nodes):
            if rank < run.committed and node.end is None:
                raise InvariantViolation(f"run {number}: {rank} is committed and has not ended")
            if node.end is not None and rank in run.running:
                raise InvariantViolation(f"run {number}: {rank} has ended and runs")
        if run.spec.max_parallel and len(run.running) > run.spec.max_parallel:
            raise InvariantViolation(f"run {number}: {len(run.running)} run at a time")
        if run.committed < len(run.nodes) and run.nodes[run.committed].end is not None:
            raise InvariantViolation(f"run {number}: {run.committed} could be committed")
        is_stuck = not run.running and not run.ready and run.state is RunState.RUNNING
        if is_stuck and run.committed < len(run.nodes):
            raise InvariantViolation(f"run {number} waits for nothing")
