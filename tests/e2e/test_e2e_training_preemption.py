"""A job of higher priority takes its places from those that may be interrupted, on a real yard (S3.4, S3.10)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.training_yard import TrainingYard, training_yard
from tests.support.wait import wait_until_sync

JOB = """kind: Job
framework: plain
name: {name}
priority: {priority}
preemptible: {preemptible}
argv: [PROGRAM, {steps}]
resources: {{cpu: {cpu}}}
roles:
  worker: {{count: 2, restart: {{max: 0}}, stop: {{signal: TERM, grace: 20s}}}}
"""


@pytest.fixture(scope="module")
def yard_of_module() -> Iterator[TrainingYard]:
    """Two agents of four processors each."""
    with training_yard() as made:
        yield made


@pytest.fixture
def yard(yard_of_module: TrainingYard) -> TrainingYard:
    return yard_of_module.emptied()


def text(name: str, priority: int, *steps: str, is_preemptible: bool = True, cpu: float = 3) -> str:
    return JOB.format(
        name=name, priority=priority, preemptible=str(is_preemptible).lower(), steps=", ".join(steps), cpu=cpu
    )


def why(yard: TrainingYard, job_id: str) -> str:
    done = yard.yard.cli("train", "why", job_id)
    assert done.code == 0, done.stderr
    return done.stderr + done.stdout


def test_preemptible_job_saves_makes_room_and_goes_on_by_itself(yard: TrainingYard) -> None:
    """S3.4, S3.8: as few as possible, gracefully, uncounted; nobody is interrupted where that would be for nothing."""
    kept = yard.submit(text("kept", 0, "wait", is_preemptible=False, cpu=0.5))
    low = yard.submit(text("low", 1, "save", "wait"))
    yard.until(low, "RUNNING")
    yard.until(kept, "RUNNING")
    huge = yard.submit(text("huge", 9, cpu=3.9))
    high = yard.submit(text("high", 5, "wait=high"))
    assert yard.until(high, "RUNNING")
    yard.until(low, "RESERVING")
    saved = [words[0] for words in yard.lines() if words[2] == "saved"]
    assert saved == ["worker-0", "worker-1"], "they were asked to end, and had their time for it"
    assert yard.job(kept)["state"] == "JOB_STATE_RUNNING"
    assert yard.job(huge)["state"] == "JOB_STATE_RESERVING", "nobody was interrupted for what fits nowhere"
    (yard.room / "high").touch()
    yard.until(high, "SUCCEEDED")
    yard.until(low, "RUNNING", "STARTING")
    yard.open_door()
    yard.until(low, "SUCCEEDED")
    job = yard.job(low)
    changes = [
        (one["kind"], one.get("is_true", False), one["reason"])
        for one in job["conditions"]
        if one["kind"] == "JOB_CONDITION_KIND_SUSPENDED"
    ]
    assert changes == [
        ("JOB_CONDITION_KIND_SUSPENDED", True, "PREEMPTED"),
        ("JOB_CONDITION_KIND_SUSPENDED", False, "RESUMED"),
    ]
    assert not any("used" in one for one in job["budgets"]), "nothing was paid for it"
    for one in (kept, huge):
        yard.yard.cli("train", "stop", one)
        yard.until(one, "STOPPED", "SUCCEEDED")
    yard.nothing_lives(low)


def test_why_says_who_waits_for_whom_and_a_killed_trainer_knows_it(yard: TrainingYard) -> None:
    """S3.10: what was begun goes on with the next process of the trainer."""
    low = yard.submit(text("low", 0, "linger", "wait"))
    yard.until_lines(2, "begins")
    yard.until(low, "RUNNING")
    high = yard.submit(text("high", 5, "wait=high"))
    told = wait_until_sync(
        lambda: found if "makes room for it" in (found := why(yard, high)) else "", "who makes room"
    )
    assert f"{low} (running) makes room for it" in told, told
    assert f"it makes room for {high} of priority 5, and goes on by itself" in why(yard, low)
    killed = yard.yard.kill("trainer")
    yard.yard.wait_for("trainer", not_pid=killed)
    (yard.room / "lingers").touch()
    yard.until(high, "RUNNING")
    (yard.room / "high").touch()
    yard.until(high, "SUCCEEDED")
    yard.open_door()
    yard.until(low, "SUCCEEDED")
    yard.nothing_lives(low)
