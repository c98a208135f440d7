"""`yard train` without any yard: what there is, what is wrong, what a job comes to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "training"
BAD = """\
kind: Job
framework: pytorch-ddp
name: digits
argv: [python, train.py, "${roles.mastr[0].host}"]
roles:
  workr: {count: 2}
"""
MINE = """\
kind: Framework
id: mine
roles: {a: {functions: {create: {argv: [run, "${role.count}"]}}}}
"""


def train(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", "train", *words], input=stdin, capture_output=True, text=True, check=False,
        cwd=ROOT, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_render_shows_the_golden_text_and_needs_no_yard() -> None:
    # S3.12, N1
    done = train("render", str(GOLDEN / "tensorflow-ps.job.yaml"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (GOLDEN / "tensorflow-ps.txt").read_text()


def test_render_as_json_is_the_message_of_the_contract() -> None:
    done = train(
        "render", str(GOLDEN / "lightgbm.job.yaml"), "-o", "json", "--role", "worker", "--index", "1"
    )
    (instance,) = json.loads(done.stdout)["instances"]
    assert (instance["role"], instance["index"]) == ("worker", 1)
    assert instance["files"] == [
        {"path": "mlist.txt", "content": "worker-0.trees 20000\nworker-1.trees 20001\n"}
    ]
    assert instance["processes"][0]["argv"][0] == "lightgbm"


def test_render_with_other_params_and_counts_takes_them() -> None:
    # S3.4
    job = str(GOLDEN / "pytorch-ddp.job.yaml")
    done = train(
        "render", job, "--param", "nproc=1", "--count", "worker=3", "--role", "worker", "--index", "2"
    )
    assert "RANK=3\n" in done.stdout
    assert "WORLD_SIZE=4\n" in done.stdout


def test_render_of_many_shows_the_first_and_says_so() -> None:
    done = train("render", str(GOLDEN / "plain.job.yaml"), "--count", "worker=5000", "--most", "2")
    assert done.stdout.count("process  python") == 2
    assert "2 of 5000 instances" in done.stderr


def test_everything_wrong_is_told_with_file_line_and_column() -> None:
    done = train("validate", "-", stdin=BAD)
    assert done.returncode == 7
    assert done.stdout.splitlines() == [
        "-:4:26: argv[2]: in ${roles.mastr[0].host}: there is no role mastr",
        "    did you mean 'master'?",
        "-:6:10: roles.workr: pytorch-ddp has no role 'workr'",
        "    did you mean 'worker'?",
    ]
    (problem, *_) = json.loads(train("validate", "-", "-o", "json", stdin=BAD).stdout)["problems"]
    assert (problem["reason"], problem["line"], problem["kind"]) == (
        "UNKNOWN_ROLE",
        4,
        "TRAINING_DOCUMENT_KIND_JOB",
    )
    assert train("render", "-", stdin=BAD).returncode == 7


def test_right_file_says_what_to_do_next() -> None:
    done = train("validate", str(GOLDEN / "jax.job.yaml"))
    assert (done.returncode, done.stdout) == (0, "")
    assert "yard train render" in done.stderr


def test_definition_of_a_file_is_used_and_judged(tmp_path: Path) -> None:
    # S3.2
    file = tmp_path / "mine.yaml"
    file.write_text(MINE)
    job = "{kind: Job, framework: mine, roles: {a: {count: 2}}}"
    assert "process  run 2" in train("render", "-", "--framework", str(file), stdin=job).stdout
    assert train("validate", str(file)).returncode == 0
    file.write_text(MINE + "oops: 1\n")
    done = train("render", "-", "--framework", str(file), stdin=job)
    assert done.returncode == 7
    assert "oops" in done.stderr


def test_frameworks_are_listed_and_shown() -> None:
    # S3.12
    listed = train("frameworks", "-o", "name").stdout.split()
    assert len(listed) >= 17
    shown = train("frameworks", "tensorflow-ps")
    assert "succeeds  chief" in shown.stdout
    assert train("frameworks", "mpi", "--source").stdout.startswith("kind: Framework\nid: mpi\n")
    unknown = train("frameworks", "pytorch-dpp")
    assert (unknown.returncode, "did you mean 'pytorch-ddp'?" in unknown.stderr) == (3, True)


def test_mistakes_on_the_line_are_usage_errors() -> None:
    assert train("render", "-", "--count", "worker", stdin=BAD).returncode == 2
    assert train("render", "/nowhere.yaml").returncode == 2
    job = str(GOLDEN / "plain.job.yaml")
    assert train("render", job, "--role", "nobody").returncode == 2


FOREIGN = ROOT / "tests" / "golden" / "imports"


def test_import_writes_the_job_file_and_tells_what_is_left_out(tmp_path: Path) -> None:
    # N10
    source, out = FOREIGN / "jobset-driver.source.yaml", tmp_path / "job.yaml"
    done = train("import", str(source))
    assert (done.returncode, done.stdout) == (0, (FOREIGN / "jobset-driver.job.yaml").read_text())
    assert f"{source}:29:26: spec.replicatedJobs[0]" in done.stderr
    assert train("import", str(source), "--out", str(out)).returncode == 0
    assert train("validate", str(out)).returncode == 0
    found = json.loads(train("import", str(source), "-o", "json").stdout)
    assert found["document"] == done.stdout
    assert found["findings"][0]["kind"] == "TRAINING_DOCUMENT_KIND_SOURCE"


def test_import_of_what_is_no_job_says_what_can_be(tmp_path: Path) -> None:
    done = train("import", "-", stdin="apiVersion: v1\nkind: Pod\n")
    assert (done.returncode, "TrainJob" in done.stderr, done.stdout) == (7, True, "")
    assert train("import", "-", "--dir", ".", stdin="").returncode == 2


def test_schema_is_the_published_one() -> None:
    done = train("schema", "job")
    assert done.stdout == (ROOT / "docs" / "schemas" / "training-job.schema.json").read_text()
    assert train("schema", "jobs").returncode == 2
