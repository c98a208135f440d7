"""What the graph service speaks about: planned graphs, the words of their fields, every reason to refuse.

Pure: no I/O, no protobuf. Canvases are in `canvases/`, the state of runs in `runs/`.
"""

from enum import Enum
from typing import ClassVar

import msgspec

from services.chassis.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
)

NODES_MOST = 50_000
"""Nodes of a canvas once its sub-graphs are written out."""
EDGES_MOST = 200_000
SUBGRAPH_DEPTH_MOST = 16
"""How deep sub-graphs, maps and loops may lie within each other."""
DOCUMENT_BYTES_MOST = 32 << 20
"""The largest document that is read at all."""


class Kind(Enum):
    """What a planned node is. Instances of sub-graphs are written out and never seen."""

    TASK = "task"
    COMMAND = "command"
    BRANCH = "branch"
    MAP = "map"
    LOOP = "loop"
    GATE = "gate"


class OnError(Enum):
    """What becomes of an edge's target when its source failed."""

    EMPTY = "empty"
    SKIP = "skip"
    FAIL_RUN = "fail_run"


class Trigger(Enum):
    """When a node with several predecessors starts."""

    ALL_ENDED = "all_ended"
    ALL_DONE = "all_done"
    ANY_DONE = "any_done"


class CachePolicy(Enum):
    """Whether a node's results may come from the cache."""

    AUTO = "auto"
    OFF = "off"
    REFRESH = "refresh"


class Order(Enum):
    """Which total order (S1.9)."""

    LEVELS = "levels"
    BRANCHES = "branches"


class Comparison(Enum):
    """How a condition compares."""

    EQUAL = "equal"
    NOT_EQUAL = "not_equal"
    LESS = "less"
    LESS_OR_EQUAL = "less_or_equal"
    GREATER = "greater"
    GREATER_OR_EQUAL = "greater_or_equal"
    IN = "in"
    EXISTS = "exists"


class Role(Enum):
    """What a project's owner lets another account do; each may do what those before it may."""

    VIEWER = "viewer"
    RUNNER = "runner"
    EDITOR = "editor"


class Condition(msgspec.Struct, frozen=True):
    """Compares a part of a JSON value. `path` "metrics.accuracy", "items.0"; empty: the value itself."""

    path: str
    comparison: Comparison
    value: str
    """JSON text; empty for EXISTS."""


class BranchCase(msgspec.Struct, frozen=True):
    """The output port that is taken when the condition holds."""

    port: str
    condition: Condition


class InputEdge(msgspec.Struct, frozen=True, gc=False):
    """What a planned node waits for: a value of `source`, or (`is_order`) only its end."""

    source: int
    """Rank of the source node."""
    source_port: str
    port: str
    is_order: bool
    on_error: OnError
    takes: str = "json"
    """Type of the port here, as declared: a text or bytes port gets the text of a JSON string, not its JSON."""


class BranchControl(msgspec.Struct, frozen=True, tag="branch"):
    """Passes its input on to the port of the first case that holds."""

    cases: tuple[BranchCase, ...]
    otherwise: str


class GateControl(msgspec.Struct, frozen=True, tag="gate"):
    """Waits for one of the approvers; none named: whoever may run the project."""

    message: str
    approvers: tuple[str, ...]
    timeout_ms: int = 0
    """0: it waits for ever."""


class BodyPort(msgspec.Struct, frozen=True):
    """A port of a body: the rank of the node inside and its port. One input name may lead to several."""

    name: str
    node: int
    port: str
    takes: str = "json"
    """Of an input: the type of the port inside, as declared."""


class Body(msgspec.Struct, frozen=True):
    """The template of a map's or a loop's body: a graph of its own, with ids relative to the instance."""

    graph: "Graph"
    inputs: tuple[BodyPort, ...]
    outputs: tuple[BodyPort, ...]


class MapControl(msgspec.Struct, frozen=True, tag="map"):
    """Runs the body for each item of the list at its input "items"."""

    body: Body
    item_port: str
    max_parallel: int
    """0: no limit."""
    batch_size: int
    """0: the body gets an item as it is; else a list of so many, and gives lists."""
    min_success_ratio: float


class LoopControl(msgspec.Struct, frozen=True, tag="loop"):
    """Runs the body again and again, until the condition holds on the output `until_port`."""

    body: Body
    until_port: str
    until: Condition | None
    max_iterations: int


Control = BranchControl | MapControl | LoopControl | GateControl


class PlannedNode(msgspec.Struct, frozen=True, gc=False):
    """A node in its place. Everything that a run has to know of it."""

    rank: int
    """Its place in the total order, and its index in `Graph.nodes`."""
    id: str
    """Within a sub-graph instance "n5/n1"."""
    gradient: int
    kind: Kind
    operator: str
    """Empty unless a TASK."""
    version: str
    initial_params: str
    """JSON text of an object; {"$param": name} stands for a parameter of the run."""
    parameter_address: str
    record: bool
    has_effects: bool
    """By the canvas or by the operator."""
    cache: CachePolicy
    trigger: Trigger
    inputs: tuple[InputEdge, ...]
    """By the operator's declaration of ports, in a port by index, then rank of the source; order edges last."""
    successors: tuple[int, ...]
    """Ranks, ascending, each once."""
    body: bytes
    """A serialised TaskSpec without parameters and inputs, made at the edge; empty for control nodes."""
    control: Control | None
    outputs: tuple[str, ...] = ()
    """Names of the output ports, as declared; several of them: an operator's value is an object with these keys."""
    files: tuple[tuple[str, str], ...] = ()
    """Of a command: (path below the working directory, output port) of what it leaves behind."""
    identity: str = ""
    """sha256 of what computes it: the operator's code, the command, or what a control node does and its body, with
    bundle and environment. Empty: unknown, its results are never taken from the cache."""


class Graph(msgspec.Struct, frozen=True):
    """A version in one of its total orders: all that precedes a node has a smaller rank."""

    nodes: tuple[PlannedNode, ...]
    sinks: tuple[int, ...]
    """Ranks of the nodes without data successors, ascending."""
    digest: str
    """sha256 of the canvas and the operators that it was planned with."""


class GraphError(Exception):
    """Of the pure part: a graph that has no order."""


class CycleFound(GraphError):
    """The nodes form a cycle; `nodes` are the indices along it, the first not repeated at the end."""

    def __init__(self, nodes: list[int]) -> None:
        super().__init__(f"{len(nodes)} nodes form a cycle")
        self.nodes = nodes


class ProjectNotFound(NotFound):
    """There is no such project, or it is not yours to see."""


class VersionNotFound(NotFound):
    """The project has no such version."""


class ProjectForbidden(PermissionDenied):
    """The project's owner has not allowed this."""


class ProjectInUse(FailedPrecondition):
    """A run of the project goes on."""


class VersionInvalid(InvalidArgument):
    """A version is counted from 1; 0 stands for the latest."""


class VersionConflict(Aborted):
    """Somebody else saved a version on the same parent."""


class CanvasMissing(InvalidArgument):
    """Give a canvas: canvas or canvas_json, one of the two."""


class BundleDigestInvalid(InvalidArgument):
    """A bundle is named by its digest: 64 hexadecimal digits."""


class DocumentTooLarge(ResourceExhausted):
    """The document does not fit into one message."""


class CanvasUnreadable(InvalidArgument):
    """The document is not a canvas."""


class CanvasInvalid(InvalidArgument):
    """The canvas has errors; ValidateCanvas tells all of them."""


class FormatUnknown(InvalidArgument):
    """There is no such format of canvases."""


class NameInvalid(InvalidArgument):
    """A name has 1 to 200 printable characters."""


class NameTaken(AlreadyExists):
    """You have a project of this name."""


class AccountInvalid(InvalidArgument):
    """Access is given to another account by its name."""


class RoleInvalid(InvalidArgument):
    """A role is viewer, runner or editor."""


class OperatorsUnavailable(ServiceError):
    """The scheduler, which knows the operators, does not answer."""

    code: ClassVar[str] = "UNAVAILABLE"
