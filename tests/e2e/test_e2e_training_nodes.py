"""Training over machines: encrypted beyond loopback, and a machine that is lost with all that it had (S3.8, S3.10)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_e2e_security import join_line, joined
from tests.support.training_yard import TrainingYard, training_yard
from tests.support.wait import wait_until_sync
from tests.support.yard import Yard

pytestmark = pytest.mark.timeout(240)
OTHER = "other"
# The lease of a node that is silent, its margin, and a machine that is busy.
LONG_S = 120.0
JOB = """kind: Job
framework: plain
name: spread
argv: [PROGRAM, wait]
resources: {cpu: 0.3}
roles:
  worker:
    count: 2
    placement: {distinct_nodes: true}
    restart: {scope: instance, max: 0, backoff: [100ms, 1s]}
"""
RANKS = """kind: Job
framework: pytorch-ddp
name: ranks
argv: [PROGRAM, talk]
resources: {cpu: 0.3}
roles:
  master: {placement: {node: node-1}}
  worker: {placement: {node: other}}
"""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: a machine that is lost is waited for when all are over."""


@pytest.fixture(scope="module")
def yard_of_module() -> Iterator[TrainingYard]:
    """A yard that listens beyond loopback, with a node of its own and one that has joined it."""
    home = Path(tempfile.mkdtemp(prefix="yard-other-"))
    try:
        with training_yard(agents=1, host="0.0.0.0") as made, joined(join_line(made.yard), home, OTHER):
            found = wait_until_sync(
                lambda: OTHER in made.yard.cli("nodes", "ls").stdout, "the other node is there", timeout_s=60
            )
            assert found
            made.other = Yard(home, made.yard.port)
            yield made
            made.other.end_all()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def yard(yard_of_module: TrainingYard) -> TrainingYard:
    return yard_of_module.emptied()


def test_ranks_on_two_machines_are_placed_started_and_told_of_over_tls(yard: TrainingYard) -> None:
    """S3.4–S3.7: seats dial the trainer with their node's certificate; everything goes as it does in the clear."""
    assert (yard.yard.state / "tls" / "ca.pem").exists()
    job_id = yard.submit(RANKS)
    yard.until(job_id, "SUCCEEDED")
    told = {words[0]: words[2:] for words in yard.lines() if words[2] == "total"}
    assert told == {"master-0": ["total", "1"], "worker-0": ["total", "1"]}
    assert yard.instances(job_id)["worker-0"]["exit"]["node"] == OTHER
    yard.nothing_lives(job_id)


def test_lost_machine_costs_no_budget_and_its_instance_comes_back_elsewhere(yard: TrainingYard) -> None:
    """S3.8, S3.10: the same index, at another address; who was not there goes on as it was."""
    job_id = yard.submit(JOB)
    yard.until(job_id, "RUNNING")
    before = yard.instances(job_id)
    (lost,) = [name for name, one in before.items() if one["address"]["node"] == OTHER]
    (kept,) = [name for name in before if name != lost]
    assert yard.other is not None
    yard.other.end_all()

    def is_back() -> bool:
        found = yard.instances(job_id)[lost]
        return found["state"] == "INSTANCE_STATE_RUNNING" and found["address"]["node"] != OTHER

    wait_until_sync(is_back, f"{lost} runs elsewhere", timeout_s=LONG_S, state=lambda: yard.told(job_id))
    after = yard.instances(job_id)
    assert after[kept]["epoch"] == before[kept]["epoch"] and after[lost]["epoch"] == "2"
    job = yard.job(job_id)
    assert [(one.get("used", 0), one["uncounted"]) for one in job["budgets"] if one.get("uncounted")] == [
        (0, 1)
    ]
    restarts = [one for one in job["conditions"] if one["kind"] == "JOB_CONDITION_KIND_RESTARTING"]
    assert restarts[0]["reason"] == "NODE_LOST" and lost in restarts[0]["message"]
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    yard.nothing_lives(job_id)
