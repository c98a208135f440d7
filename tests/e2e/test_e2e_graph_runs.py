"""Canvases run through real agents: results by port, failures, cache, continued runs, what a watcher sees."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from modelyard.errors import YardError
from modelyard.v1 import canvas_pb2, run_pb2
from tests.support.graph_bench import Bench, values
from tests.support.graph_documents import document
from tests.support.yard import Yard, new_yard

DONE, ERROR = canvas_pb2.EXECUTION_STATE_DONE, canvas_pb2.EXECUTION_STATE_ERROR


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(agents=2) as yard:
        yield yard


def diamond(bench: Bench, **params: object) -> str:
    nodes = [
        bench.node("a", "begin", params={"value": 3}),
        bench.node("b", "add", params={"plus": 1}, record=True),
        bench.node("c", "add", params={"plus": 10, **params}),
        bench.node("d", "add"),
    ]
    return document(nodes, [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])


@pytest.mark.asyncio
async def test_results_flow_by_port_and_the_sinks_come_back(yard: Yard) -> None:  # S1.2, S1.5–S1.8
    async with Bench(yard) as bench:
        await bench.save(diamond(bench))
        run = await bench.run()
        assert run.state == run_pb2.RUN_STATE_SUCCEEDED, run.error
        assert values(run) == {"d": 17}
        nodes = {node.node_id: node for node in await bench.client.runs.nodes(run.id)}
        assert [nodes[name].commit_sequence for name in "abcd"] == [1, 2, 3, 4]
        assert all(node.state == DONE for node in nodes.values())
        assert nodes["b"].outputs[0].value_json == "4"  # recorded
        assert nodes["c"].outputs[0].value_json == ""  # dropped once its consumer had committed
        assert {nodes[name].node for name in "abcd"} <= set(yard.nodes)


@pytest.mark.asyncio
async def test_second_run_comes_from_the_cache_and_a_change_runs_what_depends_on_it(yard: Yard) -> None:
    async with Bench(yard) as bench:
        await bench.save(diamond(bench))
        await bench.run()
        assert sorted(bench.marked()) == ["a", "b", "c", "d"]
        again = await bench.run()
        assert (again.cached_count, bench.marked(), values(again)) == (4, [], {"d": 17})
        await bench.save(diamond(bench, plus=11), parent=1)
        changed = await bench.run()
        assert (bench.marked(), values(changed)) == (["c", "d"], {"d": 18})
        refreshed = await bench.run(refresh=True)
        assert sorted(bench.marked()) == ["a", "b", "c", "d"]
        assert refreshed.cached_count == 0


@pytest.mark.asyncio
async def test_early_cut_off_where_a_change_gives_equal_bytes(yard: Yard) -> None:
    async with Bench(yard) as bench:
        await bench.save(diamond(bench))
        await bench.run()
        bench.marked()
        await bench.save(diamond(bench, sleep_s=0.001), parent=1)
        run = await bench.run()
        assert (bench.marked(), run.cached_count) == (["c"], 3)


@pytest.mark.asyncio
async def test_failed_node_is_empty_and_its_edges_say_what_follows(yard: Yard) -> None:  # S1.7
    async with Bench(yard) as bench:
        nodes = [
            bench.node("a", "begin"), bench.node("bad", "fails"), bench.node("after", "add"),
            bench.node("skipped", "add"),
        ]  # fmt: skip
        text = json.loads(
            document(nodes, [("a", "bad"), ("bad", "after"), ("a", "after"), ("bad", "skipped")])
        )
        text["edges"][3]["on_error"] = "skip"
        await bench.save(json.dumps(text))
        run = await bench.run()
        assert run.state == run_pb2.RUN_STATE_FAILED
        assert "always fails" in run.error.message
        found = {node.node_id: node for node in await bench.client.runs.nodes(run.id)}
        assert found["bad"].state == ERROR and not found["bad"].outputs
        assert values(run)["after"] == 1  # the empty set counts for nothing
        assert found["skipped"].detail == canvas_pb2.EXECUTION_DETAIL_SKIPPED


@pytest.mark.asyncio
async def test_continued_run_keeps_what_was_committed_and_runs_the_rest(yard: Yard) -> None:
    async with Bench(yard) as bench:
        repaired = bench.folder / "repaired"
        nodes = [
            bench.node("a", "begin", cache="off"),
            bench.node("bad", "fails", params={"unless": str(repaired)}, cache="off"),
            bench.node("z", "add", cache="off"),
        ]
        await bench.save(document(nodes, [("a", "bad"), ("bad", "z")]))
        failed = await bench.run()
        bench.marked()
        repaired.touch()
        answer = await bench.client.runs.continue_(failed.id)
        run = await bench.client.runs.wait(answer.run.id)
        assert (answer.kept_count, bench.marked(), values(run)) == (1, ["bad", "z"], {"z": 5})
        assert run.continued_from == failed.id
        # From a node that was done, with a parameter of its own.
        patched = await bench.client.runs.continue_(run.id, node_params={"z": {"plus": 2}})
        last = await bench.client.runs.wait(patched.run.id)
        assert values(last) == {"z": 7}


@pytest.mark.asyncio
async def test_large_results_flow_by_digest_and_several_into_one_port(yard: Yard) -> None:
    async with Bench(yard) as bench:
        nodes = [
            bench.node("big", "large"), bench.node("small", "begin", params={"value": 7}), bench.node("n", "count"),
        ]  # fmt: skip
        await bench.save(document(nodes, [("big", "n"), ("small", "n")]))
        run = await bench.run()
        assert run.state == run_pb2.RUN_STATE_SUCCEEDED, run.error
        [sizes] = values(run).values()
        assert sizes == [2000 * 104, 1]
        # Many small ones that are too much for a message together.
        middles = [bench.node(f"m{i}", "large", params={"size": 30_000}) for i in range(4)]
        await bench.save(
            document([*middles, bench.node("n", "count")], [(f"m{i}", "n") for i in range(4)]), parent=1
        )
        run = await bench.run()
        assert values(run) == {"n": [300 * 104] * 4}, run.error


@pytest.mark.asyncio
async def test_watcher_sees_every_commit_once_in_order_from_any_revision(yard: Yard) -> None:
    async with Bench(yard) as bench:
        await bench.save(diamond(bench))
        begun = await bench.client.runs.start(bench.project, refresh=True)
        seen, revisions = [], [0]
        async for told in bench.client.runs.watch(begun.id):
            seen += [node.node_id for node in told.nodes if node.commit_sequence]
            assert told.revision >= revisions[-1]
            revisions.append(told.revision)
        assert seen == ["a", "b", "c", "d"]
        for revision in revisions[1:]:
            later = [
                node.node_id
                async for told in bench.client.runs.watch(begun.id, revision)
                for node in told.nodes
                if node.commit_sequence
            ]
            assert later == seen[len(seen) - len(later) :]


@pytest.mark.asyncio
async def test_watcher_of_a_large_run_is_told_how_it_stands_before_all_of_its_nodes(yard: Yard) -> None:
    async with Bench(yard) as bench:
        gates = [{"id": f"g{number:04}", "gate": {"message": "Go on?"}} for number in range(1_100)]
        await bench.save(document(gates, []))
        begun = await bench.client.runs.start(bench.project)
        told, seen = [], 0
        async for response in bench.client.runs.watch(begun.id):
            told.append(response)
            seen += len(response.nodes)
            if seen >= len(gates):
                break
        assert told[0].run.node_count == len(gates)
        assert not told[0].nodes
        assert not told[0].revision
        assert len({node.node_id for response in told for node in response.nodes}) == seen == len(gates)
        assert told[-1].revision
        await bench.client.runs.cancel(begun.id)


@pytest.mark.asyncio
async def test_run_is_paused_modified_resumed_and_cancelled(yard: Yard) -> None:
    async with Bench(yard) as bench:
        nodes = [bench.node("a", "begin", params={"sleep_s": 0.5}), bench.node("b", "add")]
        await bench.save(document(nodes, [("a", "b")]))
        begun = await bench.client.runs.start(bench.project)
        assert (await bench.client.runs.pause(begun.id)).state == run_pb2.RUN_STATE_PAUSED
        await bench.client.runs.modify(begun.id, "b", {"plus": 41})
        with pytest.raises(YardError, match="has started"):
            await bench.client.runs.modify(begun.id, "a", {"value": 2})
        async for told in bench.client.runs.watch(begun.id):
            if told.run.done_count == 1:
                break
        assert bench.marked() == ["a"]
        await bench.client.runs.resume(begun.id)
        assert values(await bench.client.runs.wait(begun.id)) == {"b": 42}
        begun = await bench.client.runs.start(bench.project, refresh=True)
        cancelled = await bench.client.runs.cancel(begun.id)
        assert cancelled.state == run_pb2.RUN_STATE_CANCELLED
        assert cancelled.error_count == 2


@pytest.mark.asyncio
async def test_progress_of_an_operator_passes_through(yard: Yard) -> None:
    async with Bench(yard) as bench:
        await bench.save(document([bench.node("s", "slow", cache="off")], []))
        begun = await bench.client.runs.start(bench.project)
        steps = [
            node.progress.message
            async for told in bench.client.runs.watch(begun.id)
            for node in told.nodes
            if node.HasField("progress")
        ]
        assert len(set(steps)) > 1, steps


@pytest.mark.asyncio
async def test_parameters_are_read_from_their_address_when_a_node_starts(yard: Yard) -> None:
    async with Bench(yard) as bench:
        artifact = await bench.client.artifacts.put(b'{"plus": 5}')
        nodes = [
            bench.node("a", "begin", record=True),
            bench.node("b", "add", parameter_address=f"artifact:{artifact.digest}"),
        ]
        await bench.save(document(nodes, [("a", "b")]))
        assert values(await bench.run()) == {"b": 6}
        nodes[1]["parameter_address"] = "http://127.0.0.1/x"
        answer = await bench.client.projects.save(bench.project, document(nodes, [("a", "b")]), parent=1)
        assert [problem.reason for problem in answer.problems] == ["BAD_ADDRESS"]
        # What another project has recorded.
        source = {"id": "p", "operator": "echo", "initial_params": {"value": {"plus": 9}}, "record": True}
        await bench.save(document([source], []), parent=2)
        await bench.run()
        nodes[1]["parameter_address"] = f"project:{bench.project}/3/p"
        await bench.save(document(nodes, [("a", "b")]), parent=3)
        assert values(await bench.run()) == {"b": 10}


@pytest.mark.asyncio
async def test_same_request_id_is_the_same_run(yard: Yard) -> None:
    async with Bench(yard) as bench:
        await bench.save(diamond(bench))
        request_id = "6f0f2a8e-1c3b-4d55-9a77-0123456789ab"
        first = await bench.client.runs.start(bench.project, request_id=request_id)
        again = await bench.client.runs.start(bench.project, request_id=request_id)
        assert first.id == again.id
        await bench.client.runs.wait(first.id)


def test_command_line_runs_a_project_and_shows_it(yard: Yard) -> None:
    nodes = [{"id": "one", "operator": "echo", "initial_params": {"value": {"$param": "x"}}}]
    text = json.dumps({"format": "canvas/1", "nodes": nodes, "edges": [], "params": {"x": {"default": 1}}})
    saved = yard.cli("graph", "save", "cli-run", "-", stdin=text)
    assert saved.code == 0, saved.stderr
    ran = yard.cli("graph", "run", "cli-run", "--param", "x=5", "--watch")
    assert (ran.code, ran.stdout) == (0, "one.result\t5\n"), ran.stderr
    [first, *_] = yard.json("graph", "runs")["runs"]
    assert first["state"] == "RUN_STATE_SUCCEEDED"
    assert "one.result\t5" in yard.cli("graph", "result", first["id"]).stdout
    assert "computed" in yard.cli("graph", "show", first["id"]).stdout
