"""Checkpoints on a real yard: the newest whole one is handed on after any restart, also on another node (S3.8, G8)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.training_yard import TrainingYard, training_yard

PROGRAM = """
import io, os, sys, time, zipfile
from pathlib import Path

room = Path(__file__).parent
name = os.environ["YARD_ROLE"] + "-" + os.environ["YARD_INDEX"]
where = Path(os.environ["YARD_CHECKPOINT_DIR"])
before = os.environ.get("YARD_RESUME_FROM", "")


def say(*words):
    with (room / f"{name}.log").open("a") as log:
        log.write(" ".join(map(str, (name, os.getpid(), *words))) + "\\n")


def content(step):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("step", str(step))
    return held.getvalue()


def save(step):
    path = where / f"step-{step}.pt"
    path.with_suffix(".tmp").write_bytes(content(step))
    path.with_suffix(".tmp").rename(path)


def door(file):
    while not (room / file).exists():
        time.sleep(0.01)


first = 0
if before:
    with zipfile.ZipFile(before) as archive:
        first = int(archive.read("step"))
say("from", first, Path(before).name or "-", ",".join(sorted(path.name for path in where.glob("[!.]*"))))
for word in sys.argv[1:]:
    word, _, value = word.partition("=")
    if word == "save":
        save(int(value))
    elif word == "more":
        for step in range(first + 1, first + 1 + int(value)):
            save(step)
    elif word == "torn":
        (where / f"step-{value}.pt").write_bytes(content(int(value))[:-30])
    elif word == "kill" and first < int(value):
        os.kill(os.getpid(), 9)
    elif word == "fail" and first < int(value):
        sys.exit("fails")
    elif word == "wait":
        say("waits")
        door("door")
say("ends")
"""
JOB = """kind: Job
framework: plain
name: saves
argv: [PROGRAM, {steps}]
resources: {{cpu: 0.2}}
roles:
  worker: {{count: 1, restart: {{when: [exit, signal, node_lost], max: 5, backoff: [100ms, 100ms]}}}}
checkpoints: {{dir: {dir}, keep_last: 2}}
"""


@pytest.fixture(scope="module")
def yard_of_module() -> Iterator[TrainingYard]:
    with training_yard() as made:
        yield made


@pytest.fixture
def yard(yard_of_module: TrainingYard) -> TrainingYard:
    made = yard_of_module.emptied()
    (made.room / "program.py").write_text(PROGRAM)
    return made


def job(*steps: str, directory: str = "ckpt") -> str:
    return JOB.format(steps=", ".join(steps), dir=directory)


def begun(yard: TrainingYard) -> list[list[str]]:
    """Step, name and what lay there, of each start."""
    return [words[3:] for words in yard.lines() if words[2] == "from"]


def test_restart_in_its_seat_goes_on_from_the_last_whole_one_and_sees_no_torn_one(yard: TrainingYard) -> None:
    job_id = yard.submit(job("more=2", "torn=9", "kill=4"))
    yard.until(job_id, "SUCCEEDED")
    first, second, third = begun(yard)
    assert first == ["0", "-"] and second == ["2", "step-2.pt", "step-1.pt,step-2.pt"]
    assert third[:2] == ["4", "step-4.pt"] and "step-9.pt" not in third[2]


def test_suspended_job_goes_on_elsewhere(yard: TrainingYard) -> None:
    job_id = yard.submit(job("more=1", "wait"))
    yard.until_lines(1, "waits")
    assert yard.yard.cli("train", "suspend", job_id).code == 0
    yard.until(job_id, "SUSPENDED")
    assert yard.yard.cli("train", "resume", job_id).code == 0
    yard.until_lines(2, "waits")
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    assert begun(yard) == [["0", "-"], ["1", "step-1.pt", "step-1.pt"]]
