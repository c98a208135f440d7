"""Nodes that cannot reach each other are named before anything of a job starts, on a real yard (S3.6)."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.training_yard import TrainingYard, training_yard
from tests.support.wait import wait_until_sync
from tests.support.yard_process import environment

MESH = """kind: Framework
id: mesh
roles:
  server: {{count: 1, service: {{ports: {{main: auto}}}}}}
  worker: {{count: 1, service: {{ports: {{net: auto}}}}}}
---
kind: Job
framework: mesh
name: mesh
gang: {{check: {check}}}
argv: [PROGRAM, wait]
resources: {{cpu: 0.25}}
roles:
  server: {{placement: {{node: node-1}}}}
  worker: {{placement: {{node: {node}}}}}
"""
BESIDE, NOWHERE = "127.0.0.9", "192.0.2.1"
"""Another number of this machine; one that nobody has."""


@contextlib.contextmanager
def joined(yard: TrainingYard, home: Path, name: str, advertise: str) -> Iterator[None]:
    """A node that tells others this address of itself."""
    line = yard.yard.cli("nodes", "token").stdout
    found = re.fullmatch(r"yard agent join (\S+)\n", line)
    assert found is not None, line
    words = ["--name", name, "--cpu", "1", "--memory", "512Mi", "--advertise", advertise]
    home.mkdir()
    with (home / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "agent", "join", found[1], *words],
            env=environment(home), cwd=home, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_until_sync(
            lambda: name in yard.yard.cli("nodes", "ls", "-o", "name").stdout, f"{name} has joined", timeout_s=30,
            logs=[home / "agent.log"],
        )  # fmt: skip
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def yard_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingYard]:
    homes = tmp_path_factory.mktemp("nodes")
    with (
        training_yard() as made,
        joined(made, homes / "beside", "beside", BESIDE),
        joined(made, homes / "far", "far", NOWHERE),
    ):
        yield made


@pytest.fixture
def yard(yard_of_module: TrainingYard) -> TrainingYard:
    return yard_of_module.emptied()


def conditions(yard: TrainingYard, job_id: str) -> list[bool]:
    found = yard.job(job_id)["conditions"]
    return [one.get("is_true", False) for one in found if one["kind"] == "JOB_CONDITION_KIND_UNREACHABLE"]


def test_nodes_that_reach_each_other_start(yard: TrainingYard) -> None:  # S3.6
    job_id = yard.submit(MESH.format(check="fail", node="beside"))
    yard.until_lines(2)
    hosts = {one["address"]["host"] for one in yard.instances(job_id).values()}
    assert len(hosts) == 2 and BESIDE in hosts
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    assert conditions(yard, job_id) == []
    yard.nothing_lives(job_id)


def test_pair_that_cannot_is_named_and_nobody_starts(yard: TrainingYard) -> None:  # S3.6
    job_id = yard.submit(MESH.format(check="fail", node="far"))
    job = yard.until(job_id, "FAILED", "SUCCEEDED")
    assert job["reason"] == "UNREACHABLE"
    assert re.fullmatch(
        rf"server-0 on node-1 cannot reach worker-0 at {NOWHERE}:[0-9]+ on far: .+", job["message"]
    )
    told = yard.yard.cli("train", "why", job_id, "-o", "table").stderr
    assert f"cannot reach worker-0 at {NOWHERE}" in told
    assert yard.lines() == []
    yard.nothing_lives(job_id)


def test_waiting_job_says_what_it_waits_for(yard: TrainingYard) -> None:  # S3.6
    job_id = yard.submit(MESH.format(check="wait", node="far"))

    def waits() -> list[str]:
        told = json.loads(yard.yard.cli("train", "why", job_id, "-o", "json").stdout)
        waiting = [one for one in told.get("waits", ()) if one["reason"] == "REACHABILITY"]
        return [one["message"] for one in waiting if "cannot reach" in one["message"]]

    wait_until_sync(lambda: len(waits()) == 2, "both wait, and say for what", timeout_s=60, state=waits)
    assert yard.lines() == []
    assert yard.yard.cli("train", "stop", job_id).code == 0
    yard.until(job_id, "STOPPED")
    yard.nothing_lives(job_id)


def test_warned_job_starts_all_the_same(yard: TrainingYard) -> None:
    job_id = yard.submit(MESH.format(check="warn", node="far"))
    yard.until_lines(2)
    assert conditions(yard, job_id) == [True]
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    yard.nothing_lives(job_id)
