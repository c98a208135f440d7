"""Rules by exit code, signal and lines of output decide what follows an end, on a real yard (S3.8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.grpcurl import TASKS
from tests.support.training_yard import TrainingYard, training_yard

JOB = """kind: Job
framework: plain
name: ruled
argv: [PROGRAM, once={end}]
resources: {{cpu: 0.5}}
roles:
  worker:
    restart:
      when: [node_lost]
      max: 1
      backoff: [100ms, 1s]
      rules:
        - {{exit: 3, do: fail}}
        - {{exit: 7, do: succeed}}
        - {{signal: USR2, do: restart}}
        - {{log: "CUDA error: .* uncorrectable", do: restart, counted: false, avoid_node: true}}
        - {{log: "out of disk", do: fail}}
        - {{exit: 100-110, do: restart}}
"""


@pytest.fixture(scope="module")
def yard_of_module() -> Iterator[TrainingYard]:
    with training_yard() as made:
        yield made


@pytest.fixture
def yard(yard_of_module: TrainingYard) -> TrainingYard:
    return yard_of_module.emptied()


def ended(yard: TrainingYard, end: str) -> tuple[dict[str, Any], dict[str, Any], int]:
    """The job, its instance, and how often that began."""
    job_id = yard.submit(JOB.format(end=end))
    job = yard.until(job_id, "SUCCEEDED", "FAILED")
    begun = [words for words in yard.lines() if words[2] == "begins"]
    yard.nothing_lives(job_id)
    return job, yard.instances(job_id)["worker-0"], len(begun)


@pytest.mark.parametrize("end", ["signal-12", "exit-105"])
def test_end_that_a_rule_restarts_is_paid_for(yard: TrainingYard, end: str) -> None:
    job, _, begun = ended(yard, end)
    assert (job["state"], begun) == ("JOB_STATE_SUCCEEDED", 2)
    assert sum(one.get("used", 0) for one in job["budgets"]) == 1


@pytest.mark.parametrize(
    ("end", "words"), [("exit-3", ""), ("line-it_is_out_of_disk", "out of disk"), ("exit-4", "")]
)
def test_end_that_a_rule_or_nothing_restarts_fails_at_once(yard: TrainingYard, end: str, words: str) -> None:
    job, instance, begun = ended(yard, end)
    assert (job["state"], begun) == ("JOB_STATE_FAILED", 1)
    assert instance["reason"] == ("EXIT" if end == "exit-4" else "RULE")
    assert job["failure"].get("matched", "") == words


def test_end_that_a_rule_calls_a_success_is_one(yard: TrainingYard) -> None:
    job, _, begun = ended(yard, "exit-7")
    assert (job["state"], begun) == ("JOB_STATE_SUCCEEDED", 1)


def test_line_that_speaks_of_a_broken_device_moves_the_instance_to_another_node_for_nothing(
    yard: TrainingYard,
) -> None:
    job_id = yard.submit(JOB.format(end="line-CUDA_error:_an_uncorrectable_thing"))
    first = yard.until_lines(1, "begins")
    assert first
    job = yard.until(job_id, "SUCCEEDED", "FAILED")
    assert job["state"] == "JOB_STATE_SUCCEEDED", yard.told(job_id)
    [budget] = [one for one in job["budgets"] if one.get("uncounted")]
    assert (budget.get("used", 0), budget["uncounted"]) == (0, 1)
    tasks = yard.grpc.call(f"{TASKS}/ListTasks", {"filter": {"labels": {"job": job_id}}})["tasks"]
    seats = [yard.grpc.call(f"{TASKS}/GetTask", {"task_id": f"{one['id']}.0"})["task"] for one in tasks]
    assert sorted(seat["node"] for seat in seats) == yard.yard.nodes, "it was placed anew, elsewhere"
    assert len([words for words in yard.lines() if words[2] == "begins"]) == 2
    yard.nothing_lives(job_id)
