"""S1.1 to S1.10, one test each, on two agents: through the command line, and through the contract by grpcurl.

This is where to look whether a requirement is met; the other proofs of this directory go into each one's depth.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.graph_doors import CommandLine, Contract, Document, GraphDoor
from tests.support.grpcurl import Grpcurl, Refused
from tests.support.moments import moment
from tests.support.receiver import receiver
from tests.support.yard import ROOT, Yard, new_yard

PENDING, ERROR, DONE = (f"EXECUTION_STATE_{word}" for word in ("PENDING", "ERROR", "DONE"))
NINE = {
    "node_id", "topology", "gradient", "task", "operator_address", "initial_params_json", "parameter_address",
    "record_flag", "state",
}  # fmt: skip


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(environ={"YARD_SCHEDULER_NOTIFY_ALLOW": "127.0.0.0/8"}) as made:
        yield made
        assert made.cli("down").code == 0
        assert not made.left_over(), made.left_over()


@pytest.fixture(params=[CommandLine, Contract], ids=["cli", "grpcurl"])
def door(request: pytest.FixtureRequest, yard: Yard) -> GraphDoor:
    made: GraphDoor = request.param(yard)
    return made


def drawn(
    *nodes: Document, edges: Iterable[tuple[str, str]] = (), kind: str = "data", **more: Any
) -> Document:
    """A canvas; an edge is "a.port", "b.port", or without ports. Nothing is taken from the cache."""
    ends = [
        (*source.split(".", 1), "")[:2] + (*target.split(".", 1), "")[:2] for source, target in edges or []
    ]
    lines = [
        {"source": source, "source_port": out, "target": target, "target_port": into, "kind": kind}
        for source, out, target, into in ends
    ]
    return {"nodes": [{"cache": "off", **node} for node in nodes], "edges": lines, **more}


def echo(name: str, value: Any, **more: Any) -> Document:
    return {"id": name, "operator": "echo", "initial_params": {"value": value}, **more}


def shell(name: str, script: str, **more: Any) -> Document:
    """A command whose output is what it prints."""
    command = {"argv": ["sh", "-c", f"({script}) > out.txt"], "outputs": {"out": "out.txt"}}
    return {"id": name, "command": command, "resources": {"cpu": 0.1}, **more}


def kept(yard: Yard, node: Document) -> str:
    """The content of a node's only output."""
    [output] = node["outputs"]
    if "digest" not in output:
        return str(output["value_json"])
    target = yard.state / f"content-{uuid.uuid4()}"
    assert yard.cli("artifacts", "get", output["digest"], str(target)).code == 0
    return target.read_text()


def unique(word: str) -> str:
    """A name of a project that no other test has."""
    return f"{word}-{uuid.uuid4().hex[:8]}"


def test_both_structures_are_published_with_all_of_their_fields(yard: Yard, door: GraphDoor) -> None:  # S1.1
    canvas = drawn(
        echo("a", 1, position={"x": 3, "y": 4}, drag_in_time="2026-01-02T03:04:05.25Z", colour="red"),
        shell("b", "cat $YARD_INPUT_X", parameter_address="run:extra", record=True),
        edges=[("a.result", "b.x")],
        params={"extra": {"default": {"k": 1}}},
    )
    project, version = door.save(unique("published"), canvas)
    got = door.canvas(project, version)
    first, second = got["nodes"]
    assert (first["id"], first["position"]) == ("a", {"x": 3, "y": 4})
    assert (first["drag_in_time"], first["colour"]) == ("2026-01-02T03:04:05.25Z", "red")
    assert second["drag_in_time"]  # the service's, when it first saw the node
    [edge] = got["edges"]
    assert (edge["source"], edge["target"]) == ("a", "b")
    jsonschema.validate(got, schema("canvas"))

    graph = door.graph(project, version)
    run = door.run(project, version)
    rows = door.nodes(run["id"])
    jsonschema.validate(camel({"nodes": graph}), schema("execution-graph"))
    jsonschema.validate(camel({"nodes": rows}), schema("execution-graph"))
    assert set(rows[0]) | set(rows[1]) >= NINE
    described = Grpcurl(yard).describe("modelyard.v1.ExecutionNode")
    assert all(f" {field} = " in described for field in NINE)


def schema(name: str) -> Document:
    found: Document = json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text())
    return found


def camel(value: Any) -> Any:
    """The names of the contract as JSON has them."""
    if isinstance(value, dict):
        return {_camel(key): camel(inner) for key, inner in value.items()}
    return [camel(inner) for inner in value] if isinstance(value, list) else value


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(word.capitalize() for word in rest)


def test_project_and_version_are_enough_for_a_run(door: GraphDoor) -> None:  # S1.2
    name = unique("versions")
    project, first = door.save(name, drawn(echo("a", "old")))
    _, second = door.save(name, drawn(echo("a", "new")))
    assert (first, second) == (1, 2)
    for version, word in ((first, "old"), (second, "new")):
        run = door.run(project, version)
        assert (run["project_id"], int(run["version"])) == (project, version)
        assert [sink["outputs"][0]["value_json"] for sink in run["results"]] == [f'"{word}"']


def test_canvas_is_parsed_into_the_execution_graph_by_itself(yard: Yard, door: GraphDoor) -> None:  # S1.3
    canvas = drawn(
        echo("late", ["x"]), {"id": "join", "operator": "text.join"}, {"id": "last", "operator": "text.count"},
        edges=[("late", "join"), ("join", "last")],
    )  # fmt: skip
    project, version = door.save(unique("parsed"), canvas)
    rows = door.graph(project, version)
    assert [(row["node_id"], row.get("gradient", 0)) for row in rows] == [
        ("late", 0),
        ("join", 1),
        ("last", 2),
    ]
    assert {row["state"] for row in rows} == {PENDING}
    addresses = [row["operator_address"] for row in rows]
    assert [address["operator"] for address in addresses] == ["echo", "text.join", "text.count"]
    assert all(address["version"] and address["nodes"] == yard.nodes for address in addresses)
    [edge] = rows[1]["topology"]["inputs"]
    assert (edge["node"], edge["node_port"], edge["port"]) == ("late", "result", "texts")
    assert [edge["node"] for edge in rows[1]["topology"]["outputs"]] == ["last"]


def test_smallest_level_goes_first_to_the_agent_at_its_address(yard: Yard, door: GraphDoor) -> None:  # S1.4
    canvas = drawn(
        echo("second", 2), echo("first", 1), shell("middle", "cat $YARD_PARAMS", initial_params={"k": 7}),
        shell("end", "cat $YARD_INPUT_X"),
        edges=[("first", "middle.x"), ("middle", "end.x"), ("second", "end.y")],
    )  # fmt: skip
    project, version = door.save(unique("levels"), canvas)
    run = door.run(project, version, start="strict")
    rows = {row["node_id"]: row for row in door.nodes(run["id"])}
    for row in rows.values():
        assert row["state"] == DONE and int(row["commit_sequence"])
        before = [other for other in rows.values() if other.get("gradient", 0) < row.get("gradient", 0)]
        assert all(moment(other["end_time"]) <= moment(row["start_time"]) for other in before)
        task = door.task(row["task"])
        assert (task["state"], task["node"]) == ("TASK_STATE_SUCCEEDED", row["node"])
    assert rows["first"]["node"] in rows["first"]["operator_address"]["nodes"] == yard.nodes
    assert json.loads(door.task(rows["first"]["task"])["spec"]["params_json"]) == {"value": 1}
    assert json.loads(door.task(rows["middle"]["task"])["spec"]["params_json"]) == {"k": 7}


def test_later_nodes_get_results_parameters_and_what_is_at_their_address(
    yard: Yard, door: GraphDoor
) -> None:  # S1.5
    canvas = drawn(
        echo("a", {"from": "a"}),
        shell(
            "b", 'cat "$YARD_INPUT_X"; echo; cat "$YARD_PARAMS"', initial_params={"own": 1, "both": "own"},
            parameter_address="run:later",
        ),
        shell("c", 'cat "$YARD_INPUT_LINES"', record=True),
        edges=[("a", "b.x"), ("b.out", "c.lines")],
        params={"later": {"default": {"both": "addressed"}}},
    )  # fmt: skip
    project, version = door.save(unique("results"), canvas)
    run = door.run(project, version)
    last = door.nodes(run["id"])[-1]
    result, params = kept(yard, last).splitlines()
    assert json.loads(result) == {"from": "a"}
    assert json.loads(params) == {"own": 1, "both": "addressed"}


def test_run_goes_on_until_nothing_is_pending_and_returns_the_final_result(door: GraphDoor) -> None:  # S1.6
    names = [f"n{number}" for number in range(6)]
    nodes = [echo("n0", ["x"]), *({"id": name, "operator": "text.join"} for name in names[1:-1])]
    wide = [echo(f"w{number}", number) for number in range(3)]
    canvas = drawn(*nodes, *wide, edges=[("n0", name) for name in names[1:-1]])
    project, version = door.save(unique("final"), canvas)
    told = door.commits(door.begin(project, version))
    run = door.run(project, version)
    rows = door.nodes(run["id"])
    assert {row["state"] for row in rows} == {DONE} and run.get("pending_count", 0) == 0
    assert told == [row["node_id"] for row in rows]  # each once, in the total order
    assert run["state"] == "RUN_STATE_SUCCEEDED" and run["done_count"] == len(rows)
    sinks = [(sink["node_id"], sink["outputs"][0]["value_json"]) for sink in run["results"]]
    assert sinks == [*((f"w{n}", str(n)) for n in range(3)), *((f"n{n}", '"x"') for n in range(1, 5))]


@pytest.mark.asyncio
async def test_final_result_goes_to_a_contact_and_so_does_a_gate_that_waits(
    yard: Yard, door: GraphDoor
) -> None:  # S1.6
    async with receiver() as hook:
        contact = unique("team")
        for words in (("add", contact, hook.url), ("test", contact)):
            assert (await asyncio.to_thread(yard.cli, "contacts", *words)).code == 0
        canvas = {
            "nodes": [echo("score", 0.93), {"id": "ask", "gate": {"message": "Publish?"}}],
            "edges": [{"source": "score", "target": "ask", "target_port": "value"}],
        }
        project, version = await asyncio.to_thread(door.save, unique("told"), canvas)
        with pytest.raises(Refused, match="no contact"):
            await asyncio.to_thread(door.begin, project, version, contact=unique("nobody"))
        run_id = await asyncio.to_thread(door.begin, project, version, contact=contact)
        gate = (await hook.wait(2))[1].document
        assert (gate["event"], gate["run"]["gate"]["message"]) == ("run.gate_waiting", "Publish?")
        assert gate["run"]["gate"]["approve"] == f"yard graph approve {run_id} ask"
        await asyncio.to_thread(door.decide, run_id, "ask", "approve")
        end = (await hook.wait(3))[2].document
        assert (end["event"], end["run"]["id"]) == ("run.succeeded", run_id)
        assert end["run"]["results"] == [{"node": "ask", "outputs": [{"port": "value", "value": 0.93}]}]
        await asyncio.to_thread(yard.cli, "contacts", "rm", contact, "--yes")


def test_failed_node_is_empty_and_done_ones_are_kept_or_dropped(yard: Yard, door: GraphDoor) -> None:  # S1.7
    canvas = drawn(
        echo("kept", 1, record=True), echo("dropped", 2),
        {"id": "bad", "operator": "fail", "initial_params": {"message": "on purpose"}, "record": True},
        shell("end", 'wc -c < "$YARD_INPUT_B"; cat "$YARD_INPUT_D" "$YARD_INPUT_K"', record=True),
        edges=[("kept", "end.k"), ("dropped", "end.d"), ("bad", "end.b")],
    )  # fmt: skip
    project, version = door.save(unique("failing"), canvas)
    run = door.run(project, version)
    rows = {row["node_id"]: row for row in door.nodes(run["id"])}
    assert (run["state"], run["error_count"]) == ("RUN_STATE_FAILED", 1)
    assert rows["bad"]["state"] == ERROR and "outputs" not in rows["bad"]
    assert "on purpose" in rows["bad"]["error"]["message"] and "on purpose" in run["error"]["message"]
    assert [rows[name]["state"] for name in ("kept", "dropped", "end")] == [DONE] * 3
    assert rows["kept"]["outputs"][0]["value_json"] == "1"
    assert not {"value_json", "digest"} & set(rows["dropped"]["outputs"][0])
    assert kept(yard, rows["end"]).split() == ["0", "21"]  # the failed one's result is empty


def test_join_waits_for_all_of_its_inputs_and_gets_them_all(yard: Yard, door: GraphDoor) -> None:  # S1.8
    slow = {"id": "slow", "operator": "sleep", "initial_params": {"seconds": 0.4}, "resources": {"cpu": 0.1}}
    canvas = drawn(
        slow, echo("b", "b"), echo("c", "c"),
        shell("join", 'cat "$YARD_INPUT_S" "$YARD_INPUT_BOTH"', record=True),
        edges=[("slow", "join.s"), ("b", "join.both"), ("c", "join.both")],
    )  # fmt: skip
    project, version = door.save(unique("joining"), canvas)
    run = door.run(project, version)
    rows = {row["node_id"]: row for row in door.nodes(run["id"])}
    begun = moment(rows["join"]["start_time"])
    assert all(begun >= moment(rows[name]["end_time"]) for name in ("slow", "b", "c"))
    slept, others = kept(yard, rows["join"]).split("[")
    assert float(slept) >= 0.4 and others == '"b","c"]'


@pytest.mark.parametrize("order", ["levels", "branches"])
@pytest.mark.parametrize("first", ["left", "right"])
def test_branches_are_taken_by_drag_in_time(door: GraphDoor, first: str, order: str) -> None:  # S1.9
    second = "right" if first == "left" else "left"
    times = {first: "2026-01-01T00:00:01Z", second: "2026-01-01T00:00:02Z"}
    sides = ("left", "right")
    below = [echo(f"{side}-{n}", n) for n in (1, 2) for side in sides]
    down = [(f"{side}{end}", f"{side}{next_}") for side in sides for end, next_ in (("", "-1"), ("-1", "-2"))]
    canvas = drawn(
        *(echo(side, 0, drag_in_time=times[side]) for side in sides), echo("root", 0), *below, echo("join", 0),
        edges=[*(("root", side) for side in sides), *down, *((f"{side}-2", "join") for side in sides)],
        kind="order",
    )  # fmt: skip
    project, version = door.save(unique("branching"), canvas)
    told = door.commits(door.run(project, version, order=order)["id"])
    if order == "branches":
        between = [f"{side}{end}" for side in (first, second) for end in ("", "-1", "-2")]
        assert told == ["root", *between, "join"]
    else:
        assert told[:3] == ["root", first, second]
        assert [set(told[n : n + 2]) for n in (3, 5)] == [{f"left-{n}", f"right-{n}"} for n in (1, 2)]
        assert told[-1] == "join"


def test_nodes_of_one_level_run_side_by_side_on_several_agents(
    yard: Yard, door: GraphDoor, tmp_path: Path
) -> None:  # S1.10
    """Each waits for the others to have begun, and there is room for one of them only on each agent."""
    meet = f"touch {tmp_path}/$0; until [ -e {tmp_path}/one ] && [ -e {tmp_path}/two ]; do sleep 0.02; done"
    nodes = [
        {"id": name, "command": {"argv": ["sh", "-c", meet, name]}, "resources": {"cpu": 3}, "timeout_s": 30}
        for name in ("one", "two")
    ]
    project, version = door.save(unique("beside"), drawn(*nodes))
    run = door.run(project, version)
    rows = door.nodes(run["id"])
    assert run["state"] == "RUN_STATE_SUCCEEDED", run
    assert [row.get("gradient", 0) for row in rows] == [0, 0]
    assert sorted(row["node"] for row in rows) == yard.nodes
