"""What explain predicts is what happens (S1.3): cache hits, nodes on an idle yard, times, what strictness costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.graph_doors import Document
from tests.support.yard import Yard, new_yard


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard() as made:
        made.cli("nodes", "label", "node-2", "zone=b")
        yield made


def save(yard: Yard, name: str, nodes: list[Document], edges: list[tuple[str, str]], **more: Any) -> None:
    lines = [
        {"source": source, "target": target, **({"kind": "order"} if target.endswith("!") else {})}
        for source, target in edges
    ]
    for line in lines:
        line["target"] = line["target"].rstrip("!")
        line["source"], _, line["source_port"] = line["source"].partition(".")
        line["target"], _, line["target_port"] = line["target"].partition(".")
    saved = yard.cli("graph", "save", name, "-", stdin=json.dumps({"nodes": nodes, "edges": lines, **more}))
    assert saved.code == 0 and not saved.stdout.startswith("UNKNOWN"), saved.stdout
    assert saved.stdout.count("\n") == 1, saved.stdout


def explained(yard: Yard, name: str, *words: str) -> tuple[Document, dict[str, Document]]:
    answer = yard.json("graph", "explain", name, *words)
    return answer, {node["nodeId"]: node for node in answer["nodes"]}


def ran(yard: Yard, name: str, *words: str) -> tuple[Document, dict[str, Document]]:
    run = yard.json("graph", "run", name, *words)
    return run, {node["nodeId"]: node for node in yard.json("graph", "show", run["id"])["nodes"]}


def hits(predicted: dict[str, Document]) -> set[str]:
    return {name for name, node in predicted.items() if node.get("isCached")}


def cached(nodes: dict[str, Document]) -> set[str]:
    return {name for name, node in nodes.items() if node["detail"] == "EXECUTION_DETAIL_CACHED"}


CACHES: list[Document] = [
    {"id": "list", "operator": "echo", "initial_params": {"value": ["b", {"$param": "word"}]}},
    {"id": "text", "operator": "text.join", "parameter_address": "run:between"},
    {"id": "counted", "operator": "text.count"},
    {"id": "never", "operator": "text.count", "cache": "off"},
    {"id": "after", "command": {"argv": ["sh", "-c", 'cp "$YARD_INPUT_X" n'], "outputs": {"n": "n"}}},
    {"id": "effect", "operator": "text.count", "has_effects": True},
    {
        "id": "command",
        "command": {"argv": ["sh", "-c", 'wc -c < "$YARD_INPUT_X" > n'], "outputs": {"n": "n"}},
    },
    {"id": "of-command", "operator": "text.count"},
    {"id": "both", "operator": "text.join"},
]
EDGES = [
    ("list", "text"), ("text", "counted"), ("text", "never"), ("never", "after.x"), ("text", "effect"),
    ("text", "command.x"), ("command.n", "of-command"), ("counted", "both"), ("of-command", "both"),
]  # fmt: skip
PARAMS = {"word": {"default": "a"}, "between": {"default": {"between": "-"}}}


def test_predicted_cache_hits_are_the_actual_ones(yard: Yard) -> None:
    save(yard, "caches", CACHES, EDGES, params=PARAMS)
    _, before = explained(yard, "caches")
    assert not hits(before)
    _, first = ran(yard, "caches")
    assert not cached(first), first
    found = []
    for words in ((), ("--param", "word=a"), ("--param", "word=c"), ("--param", 'between={"between":"+"}')):
        _, predicted = explained(yard, "caches", *words)
        _, actual = ran(yard, "caches", *words)
        unknown = {name for name, node in predicted.items() if "runs first" in node["cacheReason"]}
        assert hits(predicted) == cached(actual) - unknown, words
        found.append(hits(predicted))
        assert all(node.get("cacheReason") for node in predicted.values())
    assert {"list", "text", "counted", "command", "of-command", "both"} == found[0] == found[1]
    # What "never" gives again is the same bytes: "after" is cached after all, which nobody can know before.
    assert "list" not in found[2] and "list" in found[3]
    _, predicted = explained(yard, "caches", "--refresh")
    _, actual = ran(yard, "caches", "--refresh")
    assert hits(predicted) == cached(actual) == set()


def test_predicted_nodes_are_the_actual_ones_on_an_idle_yard(yard: Yard) -> None:
    nodes = [
        {"id": "pinned", "operator": "echo", "placement": {"node": "node-2"}},
        {"id": "labelled", "operator": "echo", "placement": {"labels": {"zone": "b"}}},
        {"id": "other", "operator": "echo", "placement": {"node": "node-1"}},
        {"id": "too-large", "operator": "echo", "resources": {"cpu": 64}},
    ]
    chain = [("pinned", "labelled!"), ("labelled", "other!"), ("other", "too-large!")]
    save(yard, "places", [{**node, "cache": "off"} for node in nodes], chain)
    _, predicted = explained(yard, "places")
    _, actual = ran_to_the_end(yard, "places")
    for name in ("pinned", "labelled", "other"):
        assert predicted[name]["node"] == actual[name]["node"]
    assert [predicted[name]["node"] for name in ("pinned", "labelled", "other")] == [
        "node-2",
        "node-2",
        "node-1",
    ]
    assert "node" not in predicted["too-large"] and "cpu" in predicted["too-large"]["message"]
    assert actual["too-large"]["state"] == "EXECUTION_STATE_ERROR"


def test_nodes_of_one_level_are_predicted_side_by_side(yard: Yard) -> None:
    """Each takes more than half of an agent: which of the two goes where decides the load at that moment."""
    large = {"operator": "sleep", "initial_params": {"seconds": 0.3}, "resources": {"cpu": 3}, "cache": "off"}
    save(yard, "beside", [{"id": name, **large} for name in ("one", "two", "three")], [])
    _, predicted = explained(yard, "beside")
    _, actual = ran(yard, "beside")
    assert sorted(predicted[name]["node"] for name in ("one", "two")) == yard.nodes
    assert sorted(actual[name]["node"] for name in ("one", "two")) == yard.nodes
    assert "node" not in predicted["three"] and "waits for room" in predicted["three"]["message"]
    assert actual["three"]["startTime"] <= actual["three"]["endTime"]


def ran_to_the_end(yard: Yard, name: str) -> tuple[Document, dict[str, Document]]:
    """As `ran`, of a run that fails."""
    run = json.loads(yard.cli("graph", "run", name, "-o", "json").stdout)
    return run, {node["nodeId"]: node for node in yard.json("graph", "show", run["id"])["nodes"]}


def test_times_are_those_of_earlier_runs_and_say_what_strictness_costs(yard: Yard) -> None:
    """One long node beside short ones on two slots; what follows a short one need not wait for the long one."""

    def sleeping(name: str, seconds: float) -> Document:
        return {"id": name, "operator": "sleep", "initial_params": {"seconds": seconds}, "cache": "off"}

    nodes = [sleeping("long", 0.6), sleeping("short", 0.2), sleeping("next", 0.4), sleeping("last", 0.1)]
    save(yard, "times", nodes, [("short", "next!"), ("long", "last!"), ("next", "last!")])
    answer, predicted = explained(yard, "times", "--slots", "2")
    assert all("measuredRuns" not in node for node in predicted.values())
    assert (answer.get("criticalPathS", 0), answer["levelCount"]) == (0, 3)
    runs = [ran(yard, "times")[0]["id"] for _ in range(2)]
    answer, predicted = explained(yard, "times", "--slots", "2")
    times = {name: node["expectedS"] for name, node in predicted.items()}
    assert all(node["measuredRuns"] == runs[::-1] for node in predicted.values())
    assert times["long"] >= 0.6 and times["last"] >= 0.1
    path = answer["criticalPath"]
    assert path in (["long", "last"], ["short", "next", "last"])
    longest = max(times["long"], times["short"] + times["next"]) + times["last"]
    assert answer["criticalPathS"] == pytest.approx(longest) == pytest.approx(answer["readyMakespanS"])
    levels = max(times["long"], times["short"]) + times["next"] + times["last"]
    assert answer["strictMakespanS"] == pytest.approx(levels)
    branches, _ = explained(yard, "times", "--order", "branches", "--slots", "2")
    assert branches["strictMakespanS"] == pytest.approx(sum(times.values()))
    printed = yard.cli("graph", "explain", "times", "--slots", "2")
    assert "median of 2 runs" in printed.stdout and "strict" in printed.stderr
