"""Sweeps on a real yard: a grid, random values, halving while the trainer is killed; programs know of nothing (S3)."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.training.frameworks import catalogue
from modelyard.training.sweeps import plan_sweep
from tests.support.grpcurl import SWEEPS
from tests.support.training_yard import WAIT_S, TrainingYard, training_yard
from tests.support.wait import wait_until_sync

DESCENT = """
import os, sys, time
from pathlib import Path

given = dict(word.removeprefix("--").split("=") for word in sys.argv[1:])
rate, steps = float(given["rate"]), int(given["steps"])
room = Path(__file__).parent
with (room / "descents.log").open("a") as log:
    log.write(f"worker-0 {os.getpid()} {os.environ['YARD_JOB']} {' '.join(sys.argv[1:])}\\n")
while "door" in given and not (room / "door").exists():
    time.sleep(0.01)
place = 0.0
for step in range(1, steps + 1):
    place -= rate * 2 * (place - 3)
    print(f"step {step}/{steps} loss={(place - 3) ** 2:.9f}", flush=True)
    time.sleep(0.02)
"""
FILE = """kind: Sweep
name: descent
space: {{rate: {rate}}}
search: {search}
metric: {{name: loss, mode: min}}
parallel: {parallel}
---
kind: Job
framework: plain
argv: [{python}, {program}, "--rate=${{sweep.rate}}", --steps={steps}{more}]
resources: {{cpu: 0.2}}
progress: {{log: "step (?P<step>[0-9]+)/(?P<total>[0-9]+) loss=(?P<loss>[0-9.]+)"}}
"""
RATES = "{log_uniform: [0.0001, 0.4]}"


@pytest.fixture(scope="module")
def yard_of_module() -> Iterator[TrainingYard]:
    with training_yard() as made:
        yield made


@pytest.fixture
def yard(yard_of_module: TrainingYard) -> TrainingYard:
    made = yard_of_module.emptied()
    (made.room / "descent.py").write_text(DESCENT)
    return made


def text_of(yard: TrainingYard, rate: str, search: str, **more: Any) -> str:
    found = {"parallel": 2, "steps": 6, "more": "", **more}
    return FILE.format(
        rate=rate, search=search, python=sys.executable, program=yard.room / "descent.py", **found
    )


def loss(rate: float, step: int) -> float:
    """What the program prints."""
    place = 0.0
    for _ in range(step):
        place -= rate * 2 * (place - 3)
    return float(f"{(place - 3) ** 2:.9f}")


def begun(yard: TrainingYard) -> list[str]:
    """The job of every program that began."""
    return [words[2] for words in yard.lines()]


def shown(yard: TrainingYard, sweep: str) -> dict[str, Any]:
    done = yard.yard.cli("train", "sweep", "get", sweep, "-o", "json")
    assert done.code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def values(trials: list[dict[str, Any]]) -> list[float]:
    return [json.loads(one["valuesJson"])["rate"] for one in trials]


def test_grid_of_six_is_searched_and_its_best_command_told(yard: TrainingYard) -> None:
    text = text_of(yard, "[0.3, 0.1, 0.03, 0.01, 0.003, 0.001]", "grid")
    done = yard.yard.cli("train", "sweep", "run", "-", stdin=text)
    assert done.code == 0, done.stderr
    assert "6/6 (6 succeeded)" in done.stdout
    assert f"best command: {sys.executable} {yard.room / 'descent.py'} --rate=0.3 --steps=6" in done.stdout
    sweep = done.stdout.split()[1]
    assert sweep.startswith("s-")
    table = yard.yard.cli("train", "sweep", "get", sweep).stdout
    rows = [line.split() for line in table.splitlines() if " j-" in line]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5", "6"], "the best first"
    exported = yard.yard.cli("train", "sweep", "get", sweep, "--csv").stdout
    found = list(csv.DictReader(io.StringIO(exported)))
    assert [float(row["rate"]) for row in found] == [0.3, 0.1, 0.03, 0.01, 0.003, 0.001]
    assert all(float(row["loss"]) == loss(float(row["rate"]), 6) for row in found)
    jobs = [row["job"] for row in found]
    assert sorted(begun(yard)) == sorted(jobs)
    yard.nothing_lives(jobs[-1])
    labels = yard.job(jobs[2])["labels"]
    assert labels == {"sweep": sweep, "trial": "3"}
    # A trial's file is an ordinary one: it trains again by itself.
    again = yard.run(yard.job(jobs[0])["document"])
    assert again.code == 0, again.stderr


def test_random_of_eight_follows_from_its_seed(yard: TrainingYard) -> None:
    text = text_of(yard, RATES, "{random: {trials: 8, seed: 11}}", parallel=4, steps=2)
    done = yard.yard.cli("train", "sweep", "run", "-", stdin=text)
    assert done.code == 0, done.stderr
    found = shown(yard, done.stdout.split()[1])
    trials = sorted(found["trials"], key=lambda one: one["number"])
    file, _ = plan_sweep(text, catalogue.find)
    assert values(trials) == [file.values(number, 11)["rate"] for number in range(1, 9)]
    best = min(trials, key=lambda one: one["score"])
    assert found["bestTrial"]["number"] == best["number"]
    assert len(begun(yard)) == 8


def pruned_by_the_book(rates: list[float], reduction: int, most: int) -> list[bool]:
    """Of trials one after another: who is stopped."""
    rungs: dict[int, list[float]] = {}
    found = []
    for rate in rates:
        level, goes_on = 1, True
        while goes_on and level < most:
            here = rungs.setdefault(level, [])
            here.append(loss(rate, level))
            goes_on = loss(rate, level) <= sorted(here)[max(len(here) // reduction, 1) - 1]
            level *= reduction
        found.append(not goes_on)
    return found


def test_halving_of_nine_survives_the_death_of_the_trainer(yard: TrainingYard) -> None:
    text = text_of(yard, RATES, "{asha: {trials: 9, seed: 3, max: 27, reduction: 3}}", parallel=1, steps=27)
    done = yard.yard.cli("train", "sweep", "run", "-", "--detach", stdin=text)
    assert done.code == 0, done.stderr
    sweep = done.stdout.strip()
    for count in (2, 5):
        wait_until_sync(
            lambda count=count: len(begun(yard)) >= count, f"{count} trials", timeout_s=WAIT_S,
            state=lambda: (yard.lines(), yard.yard.logs()),
        )  # fmt: skip
        killed = yard.yard.kill("trainer")
        yard.yard.wait_for("trainer", not_pid=killed)
    watched = yard.yard.cli("train", "sweep", "watch", sweep)
    assert watched.code == 0, watched.stderr
    trials = sorted(shown(yard, sweep)["trials"], key=lambda one: one["number"])
    rates = [plan_sweep(text, catalogue.find)[0].values(number, 3)["rate"] for number in range(1, 10)]
    assert values(trials) == rates, "the same sequence, over two deaths"
    is_pruned = [one["state"] == "TRIAL_STATE_PRUNED" for one in trials]
    assert is_pruned == pruned_by_the_book([float(rate) for rate in rates], 3, 27)
    assert any(is_pruned) and not all(is_pruned)
    assert begun(yard) == [one["jobId"] for one in trials], "every trial once, one after another"
    yard.nothing_lives(trials[-1]["jobId"])


def test_stopped_sweep_leaves_nothing(yard: TrainingYard) -> None:
    text = text_of(yard, "[0.1, 0.2, 0.3]", "grid", more=", --door=closed")
    sweep = yard.yard.cli("train", "sweep", "run", "-", "--detach", stdin=text).stdout.strip()
    wait_until_sync(lambda: len(begun(yard)) == 2, "two trials", timeout_s=WAIT_S, state=yard.lines)
    started = time.monotonic()
    done = yard.yard.cli("train", "sweep", "stop", sweep, "--comment", "seen enough")
    assert done.code == 0, done.stderr
    watched = yard.yard.cli("train", "sweep", "watch", sweep)
    assert watched.code == 1 and "seen enough" in watched.stdout
    assert time.monotonic() - started < WAIT_S
    found = shown(yard, sweep)
    assert (found["state"], found["begunCount"], found["stoppedCount"]) == ("SWEEP_STATE_STOPPED", 2, 2)
    for trial in found["trials"]:
        yard.nothing_lives(trial["jobId"])
    told = yard.grpc.stream(f"{SWEEPS}/WatchSweep", {"sweep_id": sweep})
    assert [one["sweep"]["state"] for one in told] == ["SWEEP_STATE_STOPPED"]


def test_wrong_sweep_file_is_told_with_its_line(yard: TrainingYard, tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(text_of(yard, RATES, "grid"))
    told = yard.yard.cli("train", "validate", str(file))
    assert told.code == 7
    assert f"{file}:4:9: search: a grid needs values that can be counted" in told.stdout
    refused = yard.yard.cli("train", "sweep", "run", str(file))
    assert refused.code == 7
    assert "a grid needs values that can be counted" in refused.stderr
