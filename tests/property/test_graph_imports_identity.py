"""Export then import is the same canvas, whatever the other form can say of it (S1, point 11)."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.graph.canvases import document as own
from services.graph.canvases.canvas import (
    BranchWork,
    Canvas,
    CaseWork,
    CommandWork,
    ConditionWork,
    Edge,
    GateWork,
    Group,
    LoopWork,
    MapWork,
    Node,
    Param,
    Position,
    Subgraph,
    SubgraphPort,
    SubgraphWork,
)
from services.graph.imports import formats
from services.graph.model import CachePolicy, Comparison, OnError, Trigger

FORMATS = [name for name in formats.names() if name != formats.OWN]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
IDS = st.sampled_from(["n1", "n2", "n3", "4", "10", "a.b", "x-y", "a.when"])
PORTS = st.sampled_from(["", "0", "1", "value", "items", "image", "then", "ä b"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
EXTRA = st.dictionaries(
    st.sampled_from(["colour", "kfp", "react-flow", "origin", "viewport", "name"]), VALUES, max_size=2
)
CONDITION = st.builds(ConditionWork, TEXT, st.sampled_from(Comparison), VALUES)
WORKS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries(
        {
            "operator": st.sampled_from(
                ["echo", "echo@1", "placeholder:KSampler", "sleep", "kfp.x", "bad name ☃", "comfyui.A"]
            )
        }
    ),
    st.fixed_dictionaries(
        {
            "command": st.builds(
                CommandWork,
                st.lists(st.sampled_from(["python", "a.py", "--", "/bin/sh", ""]), max_size=3).map(tuple),
                st.dictionaries(PORTS, TEXT, max_size=2),
                st.dictionaries(TEXT, TEXT, max_size=2),
            )
        }
    ),
    st.fixed_dictionaries(
        {
            "branch": st.builds(
                BranchWork, st.lists(st.builds(CaseWork, PORTS, CONDITION), max_size=2).map(tuple), PORTS
            )
        }
    ),
    st.fixed_dictionaries({"map": st.builds(MapWork, IDS, PORTS, st.integers(0, 9), st.integers(0, 9))}),
    st.fixed_dictionaries(
        {"loop": st.builds(LoopWork, IDS, PORTS, CONDITION | st.none(), st.integers(0, 9))}
    ),
    st.fixed_dictionaries({"subgraph": st.builds(SubgraphWork, IDS)}),
    st.fixed_dictionaries({"gate": st.builds(GateWork, TEXT)}),
    st.just({}),
)
NODES = st.builds(
    lambda work, node: replace(node, **work),
    WORKS,
    st.builds(
        Node,
        id=IDS,
        position=st.none() | st.builds(Position, st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)),
        drag_in_time_ns=st.integers(0, 10**18),
        drag_sequence=st.integers(0, 99),
        initial_params=st.dictionaries(TEXT, VALUES | st.just({"$param": "p"}), max_size=3),
        record=st.booleans(),
        label=TEXT,
        group=st.sampled_from(["", "g1"]),
        trigger=st.none() | st.sampled_from(Trigger),
        retry=st.none() | st.just({"max_attempts": 3, "backoff": "2s"}),
        resources=st.none() | st.just({"cpu": 2.0, "memory_bytes": 1000}),
        timeout_s=st.sampled_from([0.0, 1.5]),
        cache=st.none() | st.sampled_from(CachePolicy),
        has_effects=st.booleans(),
        extra=EXTRA,
    ),
)
EDGES = st.builds(
    Edge,
    id=st.sampled_from(["", "e1", "e2"]),
    source=IDS,
    source_port=PORTS,
    target=IDS,
    target_port=PORTS,
    index=st.integers(0, 2),
    is_order=st.booleans(),
    on_error=st.none() | st.sampled_from(OnError),
    extra=EXTRA,
)


def _canvases(subgraphs: st.SearchStrategy[dict[str, Subgraph]]) -> st.SearchStrategy[Canvas]:
    return st.builds(
        Canvas,
        nodes=st.lists(NODES, max_size=5, unique_by=lambda node: node.id).map(tuple),
        edges=st.lists(EDGES, max_size=5).map(tuple),
        params=st.dictionaries(TEXT, st.builds(Param, st.just({"type": "integer"}), VALUES), max_size=2),
        groups=st.lists(st.builds(Group, st.just("g1"), TEXT, st.booleans()), max_size=1).map(tuple),
        extra=EXTRA,
        subgraphs=subgraphs,
    )


PORT = st.builds(SubgraphPort, PORTS, IDS, PORTS)
BODIES = st.dictionaries(
    IDS,
    st.builds(
        Subgraph,
        _canvases(st.just({})),
        st.lists(PORT, max_size=2).map(tuple),
        st.lists(PORT, max_size=2).map(tuple),
    ),
    max_size=2,
)


@pytest.mark.parametrize("name", formats.names())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(canvas=_canvases(BODIES))
def test_export_then_import_is_identity(name: str, canvas: Canvas) -> None:
    canvas, problems = own.read(own.write(canvas))  # What a saved canvas looks like.
    if problems:
        return
    document, _ = formats.write(canvas, name)
    imported = formats.read(document, name)
    assert imported.canvas == canvas
    assert imported.findings == ()


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=st.recursive(VALUES, lambda inner: st.dictionaries(TEXT, inner, max_size=3), max_leaves=10))
def test_any_document_gives_a_canvas_or_a_refusal(name: str, value: Any) -> None:
    try:
        imported = formats.read(json.dumps(value).encode(), name)
    except (formats.ImportRefused, formats.FormatUnknown):
        return
    assert isinstance(imported.canvas, Canvas)
