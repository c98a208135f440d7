"""A canvas as people draw it (S1.1): nodes with positions and drag-in times, edges between ports, sub-graphs.

Value types only; `document.py` reads and writes them as JSON, `convert/` as protobuf, `validation.py` judges them.
What has an `extra` keeps the fields of a document that are not known here: they survive a round trip and mean
nothing. Pure.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from services.graph.model import CachePolicy, Comparison, OnError, Trigger

Extra = dict[str, Any]


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where it is drawn."""

    x: float = 0.0
    y: float = 0.0
    extra: Extra = {}


class CommandWork(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A command; `outputs` are files below its working directory, by port."""

    argv: tuple[str, ...] = ()
    outputs: dict[str, str] = {}
    env: dict[str, str] = {}


class ConditionWork(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Compares a part of a JSON value."""

    path: str = ""
    comparison: Comparison | None = None
    value: Any = UNSET


class CaseWork(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The port that is taken when the condition holds."""

    port: str = ""
    condition: ConditionWork = ConditionWork()


class BranchWork(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Passes its input "value" on to the port of the first case that holds."""

    cases: tuple[CaseWork, ...] = ()
    otherwise: str = ""


class MapWork(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Runs a body for each item of a list."""

    subgraph: str = ""
    item_port: str = ""
    max_parallel: int = 0
    batch_size: int = 0
    min_success_ratio: float | None = None


class LoopWork(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Runs a body again and again."""

    subgraph: str = ""
    until_port: str = ""
    until: ConditionWork | None = None
    max_iterations: int = 0


class SubgraphWork(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An instance of a sub-graph."""

    subgraph: str = ""


class GateWork(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Waits for somebody to approve."""

    message: str = ""
    approvers: tuple[str, ...] = ()


class Node(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One node. Exactly one of `operator` and the works is set in a valid canvas."""

    id: str = ""
    operator: str = ""
    """As "name" or "name@version"."""
    command: CommandWork | None = None
    branch: BranchWork | None = None
    map: MapWork | None = None
    loop: LoopWork | None = None
    subgraph: SubgraphWork | None = None
    gate: GateWork | None = None
    position: Position | None = None
    drag_in_time_ns: int = 0
    """Since 1970; 0: not known. Moving a node never changes it."""
    drag_sequence: int = 0
    """Given when the node is first saved, from 1."""
    initial_params: dict[str, Any] = {}
    parameter_address: str = ""
    record: bool = False
    label: str = ""
    group: str = ""
    trigger: Trigger | None = None
    retry: dict[str, Any] | None = None
    """This and the next three: the messages of the contract, in their JSON form."""
    placement: dict[str, Any] | None = None
    resources: dict[str, Any] | None = None
    environment: dict[str, Any] | None = None
    timeout_s: float | None = None
    """None, and 0: none."""
    bundle_digest: str = ""
    cache: CachePolicy | None = None
    has_effects: bool = False
    extra: Extra = {}

    @property
    def works(self) -> list[str]:
        """The names of what is set of the works."""
        return [name for name in WORKS if getattr(self, name)]


class Edge(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """From a node's output to a node's input; an order edge carries nothing."""

    id: str = ""
    source: str = ""
    source_port: str = ""
    target: str = ""
    target_port: str = ""
    index: int = 0
    is_order: bool = False
    on_error: OnError | None = None
    extra: Extra = {}

    @property
    def name(self) -> str:
        """Its id, or where it goes."""
        if self.id:
            return self.id
        source = f"{self.source}.{self.source_port}" if self.source_port else self.source
        target = f"{self.target}.{self.target_port}" if self.target_port else self.target
        return f"{source}->{target}"


class Param(msgspec.Struct, frozen=True, omit_defaults=True):
    """A parameter of a run."""

    schema: dict[str, Any] = {}
    default: Any = UNSET
    """UNSET: a run must give it."""
    description: str = ""
    extra: Extra = {}

    @property
    def is_required(self) -> bool:
        return isinstance(self.default, UnsetType)


class Group(msgspec.Struct, frozen=True, omit_defaults=True):
    """Nodes that are drawn together."""

    id: str = ""
    title: str = ""
    is_collapsed: bool = False
    extra: Extra = {}


class SubgraphPort(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A port of a sub-graph, and the node and port inside that it is."""

    name: str = ""
    node: str = ""
    port: str = ""


class Subgraph(msgspec.Struct, frozen=True, omit_defaults=True):
    """A canvas as the body of nodes."""

    canvas: "Canvas"
    inputs: tuple[SubgraphPort, ...] = ()
    outputs: tuple[SubgraphPort, ...] = ()
    extra: Extra = {}


class Canvas(msgspec.Struct, frozen=True, omit_defaults=True):
    """The whole drawing."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    params: dict[str, Param] = {}
    subgraphs: dict[str, Subgraph] = {}
    groups: tuple[Group, ...] = ()
    extra: Extra = {}


WORKS = ("operator", "command", "branch", "map", "loop", "subgraph", "gate")
"""What a node may do: one of these."""


def body_of(node: Node) -> str | None:
    """The sub-graph that the node runs; None: it runs none."""
    work = node.map or node.loop or node.subgraph
    return work.subgraph if work else None
