"""What contacts are told of a run, in words and as facts (S1.6)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelyard.v1 import run_pb2, task_pb2
from services.graph.convert.notice import Gate, end_request, gate_request


def run(state: str = "SUCCEEDED", **fields: Any) -> run_pb2.Run:
    made = run_pb2.Run(
        id="r-12", project_id="p-3", version=4, account="ann", state=f"RUN_STATE_{state}", node_count=12, done_count=9,
        cached_count=4, **fields,
    )  # type: ignore[arg-type]  # fmt: skip
    made.create_time.FromMilliseconds(1_700_000_000_000)
    if state != "RUNNING":
        made.end_time.FromMilliseconds(1_700_000_081_500)
    return made


def sink(node: str, **output: Any) -> run_pb2.SinkResult:
    made = run_pb2.SinkResult(node_id=node)
    made.outputs.add(port="result", **output)
    return made


def test_success_tells_counts_duration_and_results_that_are_small() -> None:  # S1.6
    results = [
        sink("score", value_json='{"accuracy": 0.93}'), sink("plot", digest="ab" * 32, size_bytes=48_231),
        sink("long", value_json=json.dumps("x" * 9_000)),
    ]  # fmt: skip
    request = end_request(run(results=results, comment="nightly"), "ocr", "")
    assert (request.kind, request.subject, request.title) == ("run.succeeded", "r-12", "ocr (r-12) succeeded")
    assert request.event == task_pb2.NOTIFICATION_EVENT_SUCCEEDED
    lines = request.text.splitlines()
    for line in (
        "run: r-12", "project: ocr (p-3)", "version: 4", "state: succeeded", "account: ann", "comment: nightly",
        "nodes: 9 done (4 from the cache) of 12", 'score.result: {"accuracy": 0.93}',
        f"plot.result: 47.1 KiB, sha256:{'ab' * 32}",
    ):  # fmt: skip
        assert line in lines, request.text
    assert any(line.startswith("ran: 1m") for line in lines)
    assert len(request.text) < 2_000
    facts = json.loads(request.facts_json)
    assert (facts["duration_s"], facts["counts"]["cached"], facts["state"]) == (81.5, 4, "succeeded")
    assert facts["results"][0] == {
        "node": "score",
        "outputs": [{"port": "result", "value": {"accuracy": 0.93}}],
    }
    assert facts["results"][1]["outputs"] == [{"port": "result", "sha256": "ab" * 32, "size_bytes": 48_231}]
    assert facts["results"][2]["outputs"] == [{"port": "result", "size_bytes": 9_002}]
    assert "error" not in facts
    assert [(o.name, o.digest, o.size_bytes) for o in request.outputs] == [("plot.result", "ab" * 32, 48_231)]


def test_failure_tells_the_first_error_and_what_to_do() -> None:  # S1.6
    failed = run(
        "FAILED",
        error_count=3,
        error=task_pb2.TaskError(cause="TASK_CAUSE_EXIT", message="exited with code 3"),
    )  # type: ignore[arg-type]
    request = end_request(failed, "", "train")
    assert (request.kind, request.title) == ("run.failed", "p-3 (r-12) failed")
    assert "error: train: exit: exited with code 3" in request.text
    assert "next: yard graph show r-12; then: yard graph continue r-12" in request.text
    assert "nodes: 9 done (4 from the cache), 3 in error of 12" in request.text
    failed.error.next_step = "repair it"
    facts = json.loads(end_request(failed, "", "train").facts_json)
    assert facts["error"] == {
        "node": "train", "cause": "exit", "message": "exited with code 3", "next_step": "repair it",
    }  # fmt: skip
    cancelled = end_request(run("CANCELLED"), "ocr", "")
    assert (cancelled.kind, cancelled.event) == ("run.cancelled", task_pb2.NOTIFICATION_EVENT_FAILED)


def test_gate_tells_what_it_asks_and_the_commands_that_decide_it() -> None:  # S1.6
    request = gate_request(run("RUNNING"), "ocr", Gate("n5/3/ask", "Publish\nthese figures?"))
    assert request.event == task_pb2.NOTIFICATION_EVENT_GATE_WAITING
    assert (request.kind, request.title) == ("run.gate_waiting", "ocr (r-12) waits: Publish these figures?")
    assert "approve: yard graph approve r-12 n5/3/ask" in request.text.splitlines()
    assert "reject: yard graph reject r-12 n5/3/ask" in request.text.splitlines()
    facts = json.loads(request.facts_json)
    assert facts["gate"]["approve"] == "yard graph approve r-12 n5/3/ask"
    assert facts["end_time"] == ""


def test_event_is_named_alike_each_time_and_otherwise_for_other_events() -> None:
    def named(state: str, node: str = "") -> str:
        made = gate_request(run(state), "x", Gate(node, "")) if node else end_request(run(state), "x", "")
        return made.event_id

    long = "/".join(["n" * 90] * 16)
    names = [
        named("FAILED"),
        named("SUCCEEDED"),
        named("RUNNING", "a"),
        named("RUNNING", long),
        named("RUNNING", f"{long}2"),
    ]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 200 for name in names)
    assert named("FAILED") == names[0]
    again = run("FAILED")
    again.create_time.FromMilliseconds(1_800_000_000_000)
    assert end_request(again, "x", "").event_id != names[0], "a restored yard gives numbers again"


@pytest.mark.parametrize("value", ["NaN", "[1, Infinity]", "", "null", "not JSON", '"\\ud800"'])
def test_facts_are_json_whatever_an_operator_returned(value: str) -> None:
    request = end_request(run(results=[sink("odd", value_json=value)]), "ocr", "")
    assert "NaN" not in request.facts_json and "Infinity" not in request.facts_json
    request.SerializeToString()


def test_many_large_results_leave_a_message_that_can_be_taken() -> None:
    results = [sink("n" * 100, value_json=json.dumps("é" * 490)) for _ in range(500)]
    for each in results:
        for _ in range(50):
            each.outputs.add(port="p" * 100, value_json=json.dumps("é" * 490))
    request = end_request(run(results=results), "ocr", "")
    assert len(request.facts_json.encode()) < 64 << 10
    assert len(request.text.encode()) < 64 << 10
    assert "… and 25480 more: yard graph result r-12 NODE" in request.text
