"""Exit codes lie: a job succeeds where what it promised is there, on a real yard (S3.8, N6)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.training_yard import TrainingYard, training_yard

JOB = """kind: Job
framework: plain
name: proof
argv: [sh, -c, "{script}"]
resources: {{cpu: 0.2}}
roles:
  worker: {{count: {count}{more}}}
success: {{{success}}}
"""


@pytest.fixture(scope="module")
def yard() -> Iterator[TrainingYard]:
    with training_yard() as made:
        yield made.emptied()


def job(script: str, success: str, count: int = 1, more: str = "") -> str:
    return JOB.format(script=script, success=success, count=count, more=more)


def test_exit_0_without_the_file_fails_the_job_and_says_what_lacked(yard: TrainingYard) -> None:
    done = yard.run(job("touch model.pt", "artifacts: [model.pt]"))
    assert done.code == 1 and "'model.pt'" in done.stderr and "success.artifacts" in done.stderr
    (job_id,) = {line.split(";")[0] for line in done.stderr.splitlines() if "yard train stop" in line}
    found = yard.job(job_id)
    assert (found["state"], found["reason"]) == ("JOB_STATE_FAILED", "NO_EVIDENCE")


def test_last_byte_and_last_file_count(yard: TrainingYard) -> None:
    """Written in the last instant, the line without its newline: never overtaken by the end."""
    script = "sleep 0.1; mkdir out; printf x > out/model.pt; printf 'accuracy 0.9'"
    for _ in range(5):
        job_id = yard.submit(job(script, "artifacts: [out], log: {role: worker, regex: 'accuracy'}", count=2))
        yard.until(job_id, "SUCCEEDED")


def test_restart_rule_for_lacking_evidence_tries_again(yard: TrainingYard) -> None:
    restart = ", restart: {when: [no_evidence], max: 3, backoff: [100ms, 100ms]}"
    script = "if [ -e before ]; then echo found; else touch before; fi"
    job_id = yard.submit(job(script, "log: {regex: found}", more=restart))
    yard.until(job_id, "SUCCEEDED")
    (budget,) = yard.job(job_id)["budgets"]
    assert budget["used"] == 1


def test_evidence_outlives_a_trainer_that_is_killed(yard: TrainingYard) -> None:
    """The line is seen before the death, the end comes after it."""
    room = yard.room
    script = f"echo accuracy; while [ ! -e {room}/door ]; do sleep 0.05; done"
    job_id = yard.submit(job(script, "log: {regex: accuracy}"))
    yard.until(job_id, "RUNNING")
    pid = yard.yard.kill("trainer")
    yard.open_door()
    yard.yard.wait_for("trainer", not_pid=pid)
    yard.until(job_id, "SUCCEEDED")
