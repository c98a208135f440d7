"""Maps on two agents: how many items run, which again, what comes of those that fail (issue 4, points 7 and 8)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from modelyard.errors import YardError
from modelyard.v1 import canvas_pb2, run_pb2
from tests.support.graph_bench import Bench, values
from tests.support.graph_documents import body, document
from tests.support.yard import Yard, new_yard


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(agents=2) as yard:
        yield yard


def mapped(bench: Bench, items: Any, step: dict[str, Any] | None = None, **settings: Any) -> str:
    """A list, a map over it with one node in its body, and the sum of what it gives."""
    nodes = [
        bench.node("n", "numbers", params={"value": items}),
        {"id": "m", "map": {"subgraph": "one", **settings}},
    ]
    inner = bench.node("s", "step", **(step or {}))
    bodies = {"one": body([inner], [], {"in": "s"}, {"out": "s"})}
    return document(nodes, [("n", "m", "items")], subgraphs=bodies)


@pytest.mark.asyncio
@pytest.mark.parametrize("items", [[], [7], [3, 1, 2]])
async def test_map_of_few_items_gives_a_list_in_their_order(yard: Yard, items: list[int]) -> None:  # S1.8
    async with Bench(yard) as bench:
        await bench.save(mapped(bench, items, {"params": {"plus": 1}}))
        run = await bench.run()
        assert run.state == run_pb2.RUN_STATE_SUCCEEDED, run.error
        assert values(run) == {"m": [item + 1 for item in items]}
        assert sorted(bench.marked()) == sorted(["n", *(f"s:{item}" for item in items)])
        nodes = await bench.client.runs.nodes(run.id)
        assert [node.node_id for node in nodes] == ["n", "m", *(f"m/{i}/s" for i in range(len(items)))]
        assert nodes[1].note == f"{len(items)} item{'' if len(items) == 1 else 's'}"


@pytest.mark.asyncio
@pytest.mark.parametrize("items", [None, {"a": 1}, "text", 5])
async def test_map_over_no_list_fails_and_says_so(yard: Yard, items: Any) -> None:
    async with Bench(yard) as bench:
        nodes = [
            {"id": "n", "operator": "echo", "initial_params": {"value": items}},
            {"id": "m", "map": {"subgraph": "one"}},
        ]
        bodies = {"one": body([bench.node("s", "step")], [], {"in": "s"}, {"out": "s"})}
        await bench.save(document(nodes, [("n", "m", "items")], subgraphs=bodies))
        run = await bench.run()
        if items is None:
            assert values(run) == {"m": []}
        else:
            assert run.state == run_pb2.RUN_STATE_FAILED
            assert "what came to its port 'items' is not a list" in run.error.message
            assert run.error.next_step == "give a JSON list"


@pytest.mark.asyncio
async def test_map_of_a_thousand_items_runs_each_once_and_lists_beyond_a_message(yard: Yard) -> None:
    async with Bench(yard) as bench:
        # Each item is a text of 100 characters: the list is no small value any more on its way in and out.
        nodes = [
            bench.node("n", "large", params={"size": 100_000}),
            {"id": "m", "map": {"subgraph": "one"}},
            bench.node("c", "count"),
        ]
        bodies = {"one": body([bench.node("s", "same")], [], {"in": "s"}, {"out": "s"})}
        await bench.save(
            document(nodes, [("n", "m", "items"), ("m", "c", "values", "out")], subgraphs=bodies)
        )
        run = await bench.run(refresh=True)
        assert values(run) == {"c": [102] * 1000}, run.error
        assert bench.marked().count("s") == 1000
        assert (run.done_count, run.node_count) == (1003, 1003)
        top = await bench.client.runs.nodes(run.id, without_bodies=True)
        assert [node.note for node in top] == ["", "1,000 items", ""]
        assert len(await bench.client.runs.nodes(run.id, within="m")) == 1000
        # Whoever looks from afar is told of three nodes, of progress, and of all in the order of the log.
        told = [
            node.commit_sequence
            async for change in bench.client.runs.watch(run.id)
            for node in change.nodes
            if node.commit_sequence
        ]
        assert told == [*range(1, 1004)]


@pytest.mark.asyncio
async def test_watchers_of_a_map_are_told_in_the_order_of_the_log(yard: Yard) -> None:  # S1.4
    async with Bench(yard) as bench:
        await bench.save(mapped(bench, [*range(60)]))
        begun = await bench.client.runs.start(bench.project, refresh=True)
        sequences, ids, progress = [], [], []
        async for change in bench.client.runs.watch(begun.id):
            sequences += [node.commit_sequence for node in change.nodes if node.commit_sequence]
            ids += [node.node_id for node in change.nodes if node.commit_sequence]
            progress += [node.progress.message for node in change.nodes if node.HasField("progress")]
        assert sequences == [*range(1, 63)]
        assert ids == ["n", *(f"m/{number}/s" for number in range(60)), "m"]
        assert any(message.endswith(" of 60 items") for message in progress), progress
        brief = [
            node.node_id
            async for change in bench.client.runs.watch(begun.id, without_bodies=True)
            for node in change.nodes
        ]
        assert brief == ["n", "m"]


@pytest.mark.asyncio
@pytest.mark.parametrize("most", [1, 3])
async def test_map_keeps_to_its_parallel_bound(yard: Yard, most: int) -> None:
    async with Bench(yard) as bench:
        nodes = [
            bench.node("n", "numbers", params={"count": 12}),
            {"id": "m", "map": {"subgraph": "one", "max_parallel": most}},
        ]
        bodies = {"one": body([bench.node("s", "beside", cache="off")], [], {"in": "s"}, {"out": "s"})}
        await bench.save(document(nodes, [("n", "m", "items")], subgraphs=bodies))
        run = await bench.run()
        [seen] = values(run).values()
        assert isinstance(seen, list) and max(seen) <= most and len(seen) == 12, seen


@pytest.mark.asyncio
async def test_batches_get_lists_and_their_lists_are_put_together(yard: Yard) -> None:
    async with Bench(yard) as bench:
        await bench.save(mapped(bench, [*range(7)], {"params": {"plus": 10}}, batch_size=3))
        run = await bench.run()
        assert values(run) == {"m": [*range(10, 17)]}, run.error
        assert sorted(bench.marked()) == ["n", "s:[0,1,2]", "s:[3,4,5]", "s:[6]"]


@pytest.mark.asyncio
@pytest.mark.parametrize(("ratio", "is_kept"), [(0.8, True), (0.81, False), (None, False)])
async def test_success_ratio_decides_over_a_map(
    yard: Yard, ratio: float | None, is_kept: bool
) -> None:  # S1.7
    async with Bench(yard) as bench:
        settings = {} if ratio is None else {"min_success_ratio": ratio}
        await bench.save(mapped(bench, [*range(10)], {"params": {"fail_on": [4, 6]}}, **settings))
        run = await bench.run()
        top = {node.node_id: node for node in await bench.client.runs.nodes(run.id, without_bodies=True)}
        if is_kept:
            assert run.state == run_pb2.RUN_STATE_SUCCEEDED, run.error
            assert values(run) == {"m": [0, 1, 2, 3, None, 5, None, 7, 8, 9]}
            assert top["m"].note == "10 items, 2 of them failed"
            bodies = await bench.client.runs.nodes(run.id, within="m")
            failed = [node.node_id for node in bodies if node.state == canvas_pb2.EXECUTION_STATE_ERROR]
            assert failed == ["m/4/s", "m/6/s"]
        else:
            assert run.state == run_pb2.RUN_STATE_FAILED
            assert "4/s: " in run.error.message and "is not wanted" in run.error.message
            assert "of 10 items failed" in run.error.message
            assert not top["m"].outputs


@pytest.mark.asyncio
async def test_outputs_that_are_artefacts_stay_with_their_items(yard: Yard) -> None:  # S1.5
    async with Bench(yard) as bench:
        nodes = [
            bench.node("n", "numbers"), {"id": "m", "map": {"subgraph": "one"}, "record": True},
            bench.node("c", "count"),
        ]  # fmt: skip
        bodies = {
            "one": body([bench.node("s", "large", params={"size": 80_000})], [], {"in": "s"}, {"out": "s"})
        }
        text = document(nodes, [("n", "m", "items"), ("m", "c", "values", "out")], subgraphs=bodies)
        await bench.save(text)
        run = await bench.run()
        assert values(run) == {"c": [800 * 104] * 3}, run.error
        [output] = (await bench.client.runs.result(run.id, "m")).outputs
        assert (output.port, output.value_json, len(output.items)) == ("out", "", 3)
        assert all(item.digest for item in output.items)
        said = yard.cli("graph", "result", run.id, "m").stdout
        assert "out: a list of 3" in said and f"out[2]\t{output.items[2].digest}" in said


def deep(bench: Bench) -> str:
    """A map over lists, whose body maps over numbers; and a map whose body is a loop whose body is a map."""
    inner = body([bench.node("s", "step", params={"plus": 1})], [], {"in": "s"}, {"out": "s"})
    rows = body(
        [{"id": "cells", "map": {"subgraph": "inner"}}], [], {"in": "cells.items"}, {"out": "cells.out"}
    )
    until = {"path": "0", "comparison": "greater_or_equal", "value": 3}
    loop = {
        "id": "l",
        "loop": {"subgraph": "rows", "until_port": "out", "until": until, "max_iterations": 10},
    }
    looped = body([loop], [], {"in": "l.in"}, {"out": "l.out"})
    rows["inputs"][0]["name"] = "out"
    looped["inputs"][0]["port"] = "out"
    nodes = [
        bench.node("n", "numbers", params={"value": [[0, 5], [2], []]}),
        {"id": "m", "map": {"subgraph": "rows"}},
        bench.node("k", "numbers", params={"value": [[0, 5], [2, 2, 2]]}),
        {"id": "d", "map": {"subgraph": "looped"}},
    ]
    return document(
        nodes,
        [("n", "m", "items"), ("k", "d", "items")],
        subgraphs={"inner": inner, "rows": rows, "looped": looped},
    )


@pytest.mark.asyncio
async def test_maps_and_loops_lie_within_each_other(yard: Yard) -> None:  # S1.8
    async with Bench(yard) as bench:
        await bench.save(deep(bench))
        run = await bench.run()
        assert run.state == run_pb2.RUN_STATE_SUCCEEDED, run.error
        assert values(run) == {"m": [[1, 6], [3], []], "d": [[3, 8], [3, 3, 3]]}
        rounds = await bench.client.runs.nodes(run.id, within="d", without_bodies=True)
        assert [(node.node_id, node.note) for node in rounds] == [
            ("d/0/l", "3 rounds, the condition holds"), ("d/1/l", "1 round, the condition holds"),
        ]  # fmt: skip
        [cells] = await bench.client.runs.nodes(run.id, within="d/0/l/2", without_bodies=True)
        assert (cells.node_id, json.loads(cells.outputs[0].value_json or "null")) == ("d/0/l/2/cells", None)
        shown = yard.cli("graph", "show", run.id, "d/0/l/2/cells").stdout
        assert "d/0/l/2/cells/0 … d/0/l/2/cells/1" in shown, shown


@pytest.mark.asyncio
async def test_one_changed_item_runs_alone_the_rest_is_cached(yard: Yard) -> None:
    async with Bench(yard) as bench:
        await bench.save(mapped(bench, [*range(20)]))
        await bench.run()
        bench.marked()
        await bench.save(mapped(bench, [*range(12), 99, *range(13, 20)]), parent=1)
        run = await bench.run()
        assert sorted(bench.marked()) == ["n", "s:99"]
        assert run.cached_count == 19
        assert values(run) == {"m": [*range(12), 99, *range(13, 20)]}


def mendable(bench: Bench, items: list[int], bad: list[int], **settings: Any) -> str:
    """Each item goes through two nodes; the first fails on some items until a file is there. Nothing is cached."""
    text = json.loads(mapped(bench, items, **settings))
    fails = {"fail_on": bad, "unless": str(bench.folder / "mended")}
    nodes = [
        bench.node("s", "step", params=fails, cache="off"),
        bench.node("t", "step", params={"plus": 100}, cache="off", record=True),
    ]
    text["subgraphs"]["one"] = body(nodes, [("s", "t")], {"in": "s"}, {"out": "t"})
    text["subgraphs"]["one"]["canvas"]["edges"][0]["on_error"] = "skip"
    return json.dumps(text)


@pytest.mark.asyncio
async def test_continued_run_runs_the_failed_item_again_and_no_other(yard: Yard) -> None:
    async with Bench(yard) as bench:
        await bench.save(mendable(bench, [*range(6)], [5], max_parallel=2))
        failed = await bench.run()
        assert failed.state == run_pb2.RUN_STATE_FAILED
        assert sorted(bench.marked()) == sorted(
            ["n", *(f"s:{n}" for n in range(6)), *(f"t:{n}" for n in range(5))]
        )
        (bench.folder / "mended").touch()
        answer = await bench.client.runs.continue_(failed.id)
        run = await bench.client.runs.wait(answer.run.id)
        assert run.state == run_pb2.RUN_STATE_SUCCEEDED, run.error
        assert bench.marked() == ["s:5", "t:5"]
        assert values(run) == {"m": [*range(100, 106)]}
        kept = await bench.client.runs.nodes(run.id, within="m/3")
        assert {node.cache_reason for node in kept} == {f"kept from {failed.id}"}


@pytest.mark.asyncio
@pytest.mark.parametrize("again", ["m/1", "m/1/s"])
async def test_items_that_failed_within_what_may_fail_run_again_when_they_are_asked_for(
    yard: Yard, again: str
) -> None:
    async with Bench(yard) as bench:
        await bench.save(mendable(bench, [*range(4)], [2], min_success_ratio=0.5))
        first = await bench.run()
        assert values(first) == {"m": [100, 101, None, 103]}, first.error
        bench.marked()
        (bench.folder / "mended").touch()
        answer = await bench.client.runs.continue_(first.id, from_nodes=[again])
        run = await bench.client.runs.wait(answer.run.id)
        assert values(run) == {"m": [100, 101, 102, 103]}, run.error
        assert sorted(bench.marked()) == ["s:1", "s:2", "t:1", "t:2"]


@pytest.mark.asyncio
async def test_parameters_of_a_node_of_one_item_are_changed_before_it_starts(yard: Yard) -> None:
    async with Bench(yard) as bench:
        await bench.save(mapped(bench, [1, 2, 3], {"params": {"plus": 10}}, max_parallel=1))
        begun = await bench.client.runs.start(bench.project)
        await bench.client.runs.modify(begun.id, "m/2/s", {"plus": 1000})
        run = await bench.client.runs.wait(begun.id)
        assert values(run) == {"m": [11, 12, 1003]}, run.error
        with pytest.raises(YardError, match="no node"):
            await bench.client.runs.modify(run.id, "m/2/nobody", {"plus": 1})


@pytest.mark.asyncio
async def test_map_is_paused_resumed_and_cancelled(yard: Yard) -> None:
    async with Bench(yard) as bench:
        step = {"params": {"sleep_s": 0.2}, "cache": "off"}
        await bench.save(mapped(bench, [*range(12)], step, max_parallel=2))
        begun = await bench.client.runs.start(bench.project)
        async for told in bench.client.runs.watch(begun.id):
            if any(node.node_id == "m/1/s" and node.commit_sequence for node in told.nodes):
                break
        await bench.client.runs.pause(begun.id)
        async for told in bench.client.runs.watch(begun.id):
            if not told.run.running_count:
                break
        paused = len(bench.marked())
        assert 3 <= paused < 12
        await bench.client.runs.resume(begun.id)
        run = await bench.client.runs.wait(begun.id)
        assert values(run) == {"m": [*range(12)]}, run.error
        assert paused + len(bench.marked()) == 13
        begun = await bench.client.runs.start(bench.project)
        async for told in bench.client.runs.watch(begun.id):
            if any(node.node_id == "m/1/s" and node.commit_sequence for node in told.nodes):
                break
        cancelled = await bench.client.runs.cancel(begun.id)
        assert cancelled.state == run_pb2.RUN_STATE_CANCELLED
        nodes = await bench.client.runs.nodes(begun.id)
        assert all(node.commit_sequence for node in nodes)
        assert nodes[1].detail == canvas_pb2.EXECUTION_DETAIL_CANCELLED
