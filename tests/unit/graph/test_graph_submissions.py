"""What leaves with a node: parameters in layers, and inputs that say whether they are values (S1.4, S1.5, S1.8)."""

from __future__ import annotations

import msgspec
import pytest

from modelyard.v1 import task_pb2
from services.graph.model import Graph, InputEdge, OnError, PlannedNode
from services.graph.peers import submissions
from services.graph.runs import results
from services.graph.runs.events import NodeModified
from services.graph.runs.state import Run
from services.graph.runs.values import Detail, End, Output
from tests.support.graph_runs import Table, planned, spec

DIGEST = "ab" * 32
FILE = results.artifact_output("result", DIGEST, 9)
LARGE = results.artifact_output("result", DIGEST, 9, is_value=True)


def small(value: str) -> Output:
    return results.value_output("result", value)


def changed(graph: Graph, name: str, **fields: object) -> Graph:
    nodes = [msgspec.structs.replace(node, **fields) if node.id == name else node for node in graph.nodes]
    return msgspec.structs.replace(graph, nodes=tuple(nodes))


def taking(graph: Graph, name: str, takes: str) -> Graph:
    node = next(node for node in graph.nodes if node.id == name)
    inputs = tuple(
        InputEdge(e.source, e.source_port, e.port, False, OnError.EMPTY, takes) for e in node.inputs
    )
    return changed(graph, name, inputs=inputs)


def sent(run: Run, rank: int) -> tuple[task_pb2.TaskSpec, str]:
    [(_, request)] = submissions.messages(run, [(rank,)], {}, {})
    [item], [asked] = request.items, request.specs
    return asked, item.params_json


def received(takes: str, *given: Output) -> dict[str, task_pb2.Input]:
    """What a node gets at its port."""
    names = [f"s{number}" for number in range(len(given))]
    table = Table()
    run = table.ask(taking(planned([*names, "t"], [(name, "t") for name in names]), "t", takes))
    for name, output in zip(names, given, strict=True):
        table.end(name, End(Detail.COMPUTED, (output,)))
    asked, _ = sent(run, len(given))
    return dict(asked.inputs)


@pytest.mark.parametrize("takes", ["text", "bytes", "file"])
def test_text_port_gets_small_texts_as_they_are_and_large_ones_marked(takes: str) -> None:
    assert received(takes, small('"a \\"b\\""')) == {"value": task_pb2.Input(data=b'a "b"')}
    assert received(takes, LARGE) == {"value": task_pb2.Input(digest=DIGEST, is_value=True)}
    assert received(takes, FILE) == {"value": task_pb2.Input(digest=DIGEST)}


def test_port_of_unknown_kind_gets_the_json_and_is_told_so() -> None:
    assert received("any", small('"a"')) == {"value": task_pb2.Input(data=b'"a"', is_value=True)}
    assert received("any", FILE) == {"value": task_pb2.Input(digest=DIGEST)}


def test_list_is_one_json_or_one_input_a_member() -> None:
    assert received("json", small('"a"'), small("1")) == {"value": task_pb2.Input(data=b'["a",1]')}
    assert received("json", small('"a"'), LARGE, FILE) == {
        "value.0": task_pb2.Input(data=b'"a"', is_value=True),
        "value.1": task_pb2.Input(digest=DIGEST, is_value=True),
        "value.2": task_pb2.Input(digest=DIGEST),
    }


def of_environment(name: str = "SIZES") -> Graph:
    graph = planned(["a"], [], params={"a": '{"w":1,"h":{"$param":"h"}}'})
    return changed(graph, "a", parameter_address=f"env:{name}")


def test_parameters_of_an_agent_lie_over_the_nodes_own_and_below_a_change() -> None:  # S1.4
    run = Table().ask(of_environment(), spec(params='{"h":2}'))
    asked, item = sent(run, 0)
    assert (asked.params_json, item) == ('{"w":1,"h":2}', "")
    table = Table()
    graph = changed(
        planned(["a", "b"], [("a", "b")], params={"b": '{"w":1}'}), "b", parameter_address="env:SIZES"
    )
    run = table.ask(graph)
    table.do(NodeModified(2, 1, (1,), '{"w":9}'))
    table.end("a", End(Detail.COMPUTED, (small("1"),)))
    asked, item = sent(run, 1)
    assert (asked.params_json, item) == ('{"w":9}', '{"w":9}')


def test_nodes_with_other_parameters_share_a_specification_only_without_an_agents() -> None:
    plain = planned(["a", "b"], [], params={"a": '{"w":1}', "b": '{"w":2}'})
    run = Table().ask(plain)
    [(_, request)] = submissions.messages(run, [(0,), (1,)], {}, {})
    assert (len(request.specs), len(request.items)) == (1, 2)
    both = changed(changed(plain, "a", parameter_address="env:A"), "b", parameter_address="env:A")
    run = Table().ask(both)
    [(_, request)] = submissions.messages(run, [(0,), (1,)], {}, {})
    assert [spec.params_json for spec in request.specs] == ['{"w":1}', '{"w":2}']


def test_node_with_parameters_of_an_agent_is_neither_cached_nor_asked_of_the_cache() -> None:
    table = Table()
    graph = changed(planned(["a"], []), "a", parameter_address="env:A")
    for number in (1, 2):
        table.ask(graph)
        assert table.taken() == ["a"]
        table.end("a", End(Detail.COMPUTED, (small("1"),)), number)
    assert [row.end.reason for row in table.log] == [
        "its parameters at env:A are its agent's, and not known here"
    ] * 2


def test_keys_tell_variables_and_files_from_values() -> None:
    def key(address: str = "", *outputs: Output) -> bytes:
        node: PlannedNode = changed(planned(["a"], []), "a", parameter_address=address).nodes[0]
        pieces = tuple(results.piece_of(output) for output in outputs)
        return results.key_of(node, "{}", [results.PortInput("value", "text", pieces, False)])

    assert len({key(), key("env:A"), key("env:B"), key("run:A")}) == 3
    assert key("", FILE) != key("", LARGE)


def test_outputs_keep_what_the_agent_said_of_them() -> None:
    node = changed(planned(["a"], []), "a", outputs=("long", "file")).nodes[0]
    files = [("file", DIGEST, 3, False), ("long", DIGEST, 9, True)]
    assert [(one.port, one.is_value) for one in results.outputs_of(node, "", "", files)] == [
        ("long", True), ("file", False),
    ]  # fmt: skip
    [value] = results.outputs_of(planned(["a"], []).nodes[0], "", DIGEST, [])
    assert value.is_value


def test_values_beside_files_of_unknown_code_are_outputs_of_their_names() -> None:
    node = changed(planned(["a"], []), "a", outputs=()).nodes[0]
    found = results.outputs_of(node, '{"score":1,"name":"x"}', "", [("model", DIGEST, 9, False)])
    assert {one.port: one.value for one in found} == {"model": "", "score": "1", "name": '"x"'}
