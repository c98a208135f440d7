"""Progress and curves of real jobs: by lines, a file, reports, Hugging Face's protocol (S3.9, issue 5.7)."""

from __future__ import annotations

import json
import sys
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.grpcurl import JOBS, Grpcurl, Refused
from tests.support.training_reports import HUGGING_FACE
from tests.support.training_yard import TrainingYard, training_yard
from tests.support.wait import wait_until_sync

STEPS = 50
PROGRAM = """
import json, os, sys, time
from pathlib import Path
from modelyard import report

room, index = Path(__file__).parent, int(os.environ["YARD_INDEX"])
for step in range(1, 51):
    if index == 0:
        print(f"step {step}/50 loss={1 / step:.4f}", flush=True)
    elif index == 1:
        with open("progress.jsonl", "a") as file:
            file.write(json.dumps({"step": step, "total": 50, "loss": 2 / step}) + "\\n")
    else:
        report(step, 50, loss=3 / step)
        time.sleep(0.02)
Path(room / f"token-{index}").write_text(os.environ["YARD_TASK_TOKEN"])
while not (room / "door").exists():
    time.sleep(0.02)
    if index == 2 and report(50, 50):
        print("saved", flush=True)
        sys.exit(0)
"""
JOB = """kind: Job
framework: plain
name: told
argv: [PYTHON, FILE]
resources: {cpu: 0.1}
roles: {worker: {count: 3}}
progress: {log: 'step (?P<step>[0-9]+)/(?P<total>[0-9]+) loss=(?P<loss>[0-9.]+)', file: progress.jsonl}
"""
FACE = """kind: Job
framework: plain
name: face
argv: [PYTHON, FILE]
resources: {cpu: 0.1}
"""


@pytest.fixture(scope="module")
def yard_of_module() -> Iterator[TrainingYard]:
    with training_yard() as made:
        yield made


@pytest.fixture
def yard(yard_of_module: TrainingYard) -> TrainingYard:
    return yard_of_module.emptied()


def submit(yard: TrainingYard, job: str, program: str) -> str:
    file = yard.room / "told.py"
    file.write_text(program)
    return yard.submit(job.replace("PYTHON", sys.executable).replace("FILE", str(file)))


def curves(yard: TrainingYard, job_id: str) -> dict[str, list[tuple[int, float]]]:
    """Of each instance its loss by step."""
    done = yard.yard.cli("train", "metrics", job_id, "--metric", "loss", "-o", "json")
    assert done.code == 0, done.stderr
    return {
        f"{one['role']}-{one.get('index', 0)}": [
            (int(point["step"]), float(point["value"])) for point in one["points"]
        ]
        for one in json.loads(done.stdout).get("series", [])
    }


def test_curves_come_by_lines_files_and_reports_and_outlive_the_trainer(
    yard: TrainingYard, tmp_path: Path
) -> None:
    job_id = submit(yard, JOB, PROGRAM)
    wanted = {
        f"worker-{index}": [(step, pytest.approx((index + 1) / step, abs=1e-4)) for step in range(1, STEPS + 1)]
        for index in range(3)
    }  # fmt: skip
    wait_until_sync(
        lambda: curves(yard, job_id) == wanted, "every point is there", timeout_s=60,
        state=lambda: {key: len(points) for key, points in curves(yard, job_id).items()},
    )  # fmt: skip
    job = yard.job(job_id)
    assert (job["progress"]["ratio"], job["progress"]["step"]) == (1, "50")
    killed = yard.yard.kill("trainer")
    yard.yard.wait_for("trainer", not_pid=killed)
    assert curves(yard, job_id) == wanted
    reported_with_the_token_of_its_task(yard, job_id)
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    assert curves(yard, job_id)["worker-0"] == wanted["worker-0"]
    drawn = tmp_path / "curve.svg"
    done = yard.yard.cli("train", "plot", job_id, "--metric", "loss", "--out", str(drawn))
    assert done.code == 0, done.stderr
    assert ET.parse(drawn).getroot().tag.endswith("svg")
    with pytest.raises(Refused, match="JOB_HAS_ENDED"):
        report = {"job_id": job_id, "role": "worker", "progress": {"step": "99"}}
        yard.grpc.call(f"{JOBS}/ReportProgress", report)


def reported_with_the_token_of_its_task(yard: TrainingYard, job_id: str) -> None:
    program = Grpcurl(yard.yard, (yard.room / "token-1").read_text())
    report = {"request_id": str(uuid.uuid4()), "progress": {"metrics": {"own": 1.5}}}
    for _ in range(2):
        assert program.call(f"{JOBS}/ReportProgress", report) == {}
    own = json.loads(yard.yard.cli("train", "metrics", job_id, "--metric", "own", "-o", "json").stdout)[
        "series"
    ]
    assert [(one["index"], one["pointCount"], one["points"][0]["step"]) for one in own] == [(1, "1", "50")]
    with pytest.raises(Refused, match="ROLE_NOT_ALLOWED"):
        program.call(f"{JOBS}/GetJob", {"job_id": job_id})


def test_program_that_asks_is_told_to_save_and_stop(yard: TrainingYard) -> None:
    job_id = submit(yard, JOB, "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + PROGRAM)
    wait_until_sync(lambda: (yard.room / "token-2").exists(), "it runs", timeout_s=60, state=yard.yard.logs)
    assert yard.yard.cli("train", "suspend", job_id).code == 0
    wait_until_sync(
        lambda: "saved" in yard.yard.cli("train", "logs", job_id, "worker-2").stdout, "it has saved",
        timeout_s=60, state=lambda: yard.told(job_id),
    )  # fmt: skip
    assert yard.yard.cli("train", "stop", job_id).code == 0
    yard.open_door()
    yard.until(job_id, "STOPPED")


def test_hugging_faces_trainer_shows_progress_remaining_time_and_metrics(yard: TrainingYard) -> None:
    job_id = submit(yard, FACE, HUGGING_FACE)
    progress = yard.until(job_id, "SUCCEEDED")["progress"]
    assert progress["ratio"] == 0.75 and progress["remaining_s"] == 12
    assert (progress["step"], progress["total_steps"], progress["epoch"]) == ("30", "40", 1.5)
    assert progress["metrics"] == {"loss": 0.125, "learning_rate": 5e-05}
    assert curves(yard, job_id) == {"worker-0": [(30, 0.125)]}
