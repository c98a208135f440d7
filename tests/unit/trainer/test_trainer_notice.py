"""What contacts are told of a job's end, in words and as facts (S0.8)."""

from __future__ import annotations

import json
from typing import Any

from modelyard.v1 import job_pb2, task_pb2
from services.trainer.convert.notice import end_request


def job(state: str = "SUCCEEDED", **fields: Any) -> job_pb2.Job:
    made = job_pb2.Job(
        id="j-12", name="digits", framework_id="pytorch-ddp", account="ann", state=f"JOB_STATE_{state}",
        roles=[job_pb2.JobRole(name="master", count=1), job_pb2.JobRole(name="worker", count=3)],
        budgets=[job_pb2.RestartBudget(per="job", used=1, uncounted=1)], **fields,
    )  # type: ignore[arg-type]  # fmt: skip
    made.create_time.FromMilliseconds(1_700_000_000_000)
    made.start_time.FromMilliseconds(1_700_000_010_000)
    made.end_time.FromMilliseconds(1_700_000_091_500)
    return made


def instance(index: int = 0, **progress: Any) -> job_pb2.Instance:
    return job_pb2.Instance(
        role="worker", index=index, state=job_pb2.INSTANCE_STATE_SUCCEEDED,
        progress=job_pb2.JobProgress(**progress),
    )  # fmt: skip


def test_success_tells_key_figures_and_what_was_kept() -> None:  # S0.8
    kept = [task_pb2.Output(name="worker-0/model.pt", digest="ab" * 32, size_bytes=48_231)]
    told = [instance(step=300, total_steps=300, metrics={"loss": 0.0312, "accuracy": 0.97}), instance(1)]
    request = end_request(job(outputs=kept), told)
    assert (request.kind, request.subject, request.title) == (
        "job.succeeded",
        "j-12",
        "digits (j-12) succeeded",
    )
    assert (request.event, request.event_id) == (
        task_pb2.NOTIFICATION_EVENT_SUCCEEDED,
        "j-12 of 1700000000000 succeeded",
    )
    lines = request.text.splitlines()
    for line in (
        "job: j-12", "framework: pytorch-ddp", "state: succeeded", "roles: 1 master, 3 worker", "restarts: 2",
        "worker-0: step 300 of 300, accuracy 0.97, loss 0.0312",
        f"worker-0/model.pt: 47.1 KiB, sha256:{'ab' * 32}",
    ):  # fmt: skip
        assert line in lines, request.text
    assert not any(line.startswith("worker-1") for line in lines), "who said nothing is left out"
    facts = json.loads(request.facts_json)
    assert (facts["duration_s"], facts["roles"], facts["restarts"]) == (81.5, {"master": 1, "worker": 3}, 2)
    assert facts["instances"][0]["progress"]["metrics"] == {"loss": 0.0312, "accuracy": 0.97}
    assert [(one.name, one.digest) for one in request.outputs] == [("worker-0-model.pt", "ab" * 32)]
    assert end_request(job(outputs=kept), told) == request, "the same job gives the same words"


def test_failure_tells_who_failed_where_with_its_last_lines() -> None:  # S0.8
    failure = job_pb2.InstanceExit(
        role="worker", index=2, cause=job_pb2.EXIT_CAUSE_EXIT, exit_code=3, message="code 3", node="node-1",
        last_lines=[f"line {number}" for number in range(20)],
    )  # fmt: skip
    failed = job("FAILED", reason="RESTART_BUDGET", message="its budget is spent", failure=failure)
    failed.notification.contact = "team"
    request = end_request(failed, [])
    assert (request.kind, request.event) == ("job.failed", task_pb2.NOTIFICATION_EVENT_FAILED)
    assert request.notification.contact == "team"
    assert "why: its budget is spent" in request.text
    assert "failure: worker-2 on node-1 exit code 3\n  line 10\n" in request.text
    assert request.text.splitlines()[-1] == "next: yard train get j-12"
    facts = json.loads(request.facts_json)
    assert (facts["failure"]["exit_code"], facts["failure"]["last_lines"][-1]) == (3, "line 19")
    stopped = end_request(job("STOPPED"), [])
    assert (stopped.kind, stopped.event) == ("job.stopped", task_pb2.NOTIFICATION_EVENT_FAILED)


def test_message_stays_within_its_bounds_whatever_the_job_says() -> None:
    long = "x" * 9_000
    failure = job_pb2.InstanceExit(cause=job_pb2.EXIT_CAUSE_EXIT, message=long, last_lines=[long] * 20)
    many = [instance(index, metrics={f"{long[:90]}{n}": 1.0 for n in range(40)}) for index in range(500)]
    request = end_request(job("FAILED", message=long, failure=failure), many)
    assert len(request.text.encode()) <= 60 << 10 and len(request.facts_json.encode()) <= 60 << 10
    assert json.loads(request.facts_json)["instances"] == []
    assert "… and 480 more" in request.text
