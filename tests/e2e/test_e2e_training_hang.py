"""Ranks that live and do nothing are found, say where they stand, and start again, on a real yard (S3.8)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.training_yard import TrainingYard, training_yard

JOB = """kind: Job
framework: pytorch-ddp
name: hanging
argv: [PROGRAM, {steps}]
resources: {{cpu: 0.5}}
hang: {{silent: 3s}}
roles:
  master: {{restart: {{max: {budget}, backoff: [100ms, 1s]}}}}
  worker: {{restart: {{max: {budget}, backoff: [100ms, 1s]}}, stop: {{grace: 2s}}}}
"""


@pytest.fixture(scope="module")
def yard_of_module() -> Iterator[TrainingYard]:
    with training_yard() as made:
        yield made


@pytest.fixture
def yard(yard_of_module: TrainingYard) -> TrainingYard:
    return yard_of_module.emptied()


@pytest.mark.parametrize(
    ("step", "where"), [("stop_itself", "stop_itself"), ("sleep_for_ever", "sleep_for_ever")]
)
def test_rank_that_hangs_is_found_with_stacks_of_all_and_the_job_succeeds(
    yard: TrainingYard, step: str, where: str
) -> None:
    """S3.8: a stopped rank, and one that never comes to the others; no code of the user's is needed for the stacks."""
    job_id = yard.submit(JOB.format(steps=f"{step}, talk", budget=2))
    job = yard.until(job_id, "SUCCEEDED", "FAILED")
    assert job["state"] == "JOB_STATE_SUCCEEDED", yard.told(job_id)
    hanging = [one for one in job["conditions"] if one["kind"] == "JOB_CONDITION_KIND_HANGING"]
    assert [one.get("is_true", False) for one in hanging] == [True, False]
    assert (
        hanging[0]["reason"] == "HANG"
        and "is silent, idle and makes no progress for 3 s" in hanging[0]["message"]
    )
    stacks = {f"{one['role']}-{one.get('index', 0)}": one["text"] for one in job["stacks"]}
    assert f"in {where}" in stacks["worker-0"], stacks
    assert "in talk" in stacks["master-0"], stacks
    why = yard.yard.cli("train", "why", job_id).stdout
    assert "stacks of worker-0 on node-" in why and f"in {where}" in why
    task = yard.instances(job_id)["worker-0"]["task_id"]
    assert (
        f"in {where}"
        in yard.yard.cli("tasks", "logs", task).stdout + yard.yard.cli("tasks", "logs", task).stderr
    )
    assert [words[0] for words in yard.lines() if words[2] == "begins"] == ["master-0"] * 2 + ["worker-0"] * 2
    [budget] = [one for one in job["budgets"] if one.get("used")]
    assert budget["used"] == 1
    yard.nothing_lives(job_id)


def test_hang_beyond_the_budget_fails_the_job_with_what_it_left(yard: TrainingYard) -> None:
    """S3.8: the exit says HANG, and the stacks outlive the processes."""
    job_id = yard.submit(JOB.format(steps="hang_always, talk", budget=0))
    job = yard.until(job_id, "SUCCEEDED", "FAILED")
    assert job["state"] == "JOB_STATE_FAILED"
    failure = job["failure"]
    # Both wait, and who is found first is whoever was told of first.
    assert (failure["cause"], failure["role"]) in (
        ("EXIT_CAUSE_HANG", "worker"),
        ("EXIT_CAUSE_HANG", "master"),
    )
    assert "is silent, idle and makes no progress" in job["message"]
    assert any("in sleep_for_ever" in one["text"] for one in job["stacks"]), str(job["stacks"])
    yard.nothing_lives(job_id)
