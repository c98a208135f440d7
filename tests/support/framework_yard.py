"""A yard whose agents' interpreter has the real frameworks, and the same programs started by hand, to compare.

Must run in the environment of `make frameworks`: jobs take their `python` from where the agent has its own.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.grpcurl import TASKS
from tests.support.training_yard import TrainingYard
from tests.support.yard import new_yard

PROGRAMS = Path(__file__).parents[1] / "frameworks" / "programs"
BIN = Path(sys.executable).parent
HOST = "127.0.0.1"
# What keeps libraries from taking every core, for jobs as for what is started by hand.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"}
# Imports of seconds, several at a time, on machines that others use.
LONG_S = 240.0

Values = dict[str, Any]
# Loss and accuracy of the same training in one process of plain NumPy.
Alone = Mapping[str, float]


class FrameworkYard(TrainingYard):
    """`room` is for what a program keeps between its processes."""

    @property
    def in_room(self) -> dict[str, str]:
        """The variable that tells programs of the room."""
        return {"ROOM": str(self.room)}

    def train(self, text: str) -> str:
        """Runs a job to its end, which must be success; its id."""
        job_id = self.begin(text)
        job = self.until(job_id, "SUCCEEDED", "FAILED", "STOPPED")
        assert job["state"] == "JOB_STATE_SUCCEEDED", f"{job}\n{self.output(job_id, most=3000)}"
        return job_id

    def begin(self, text: str) -> str:
        """`yard train run --detach` with a copy of all programs for each instance; the job's id."""
        done = self.yard.cli("train", "run", "-", "--detach", "--dir", str(PROGRAMS), stdin=text)
        assert done.code == 0, done.stderr
        return done.stdout.strip()

    def results(self, text: str) -> list[Values]:
        """What the programs of a job have reported, of which nothing may be left."""
        job_id = self.train(text)
        found = reported(self.output(job_id))
        self.nothing_lives(job_id)
        return found

    def steps(self) -> list[Values]:
        """Every step that was saved in the room, in the order of time."""
        file = self.room / "steps"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def output(self, job_id: str, most: int = 1 << 30) -> str:
        """What its instances have written; of each so many of the last characters."""
        return "\n".join(
            f"--- {name}\n{self.log_of(one)[-most:]}"
            for name, one in self.instances(job_id).items()
            if one.get("task_id")
        )

    def log_of(self, instance: Values) -> str:
        """What the instance has written so far."""
        chunks = self.grpc.stream(f"{TASKS}/StreamLogs", {"task_id": instance["task_id"]})
        return b"".join(base64.b64decode(chunk.get("data", "")) for chunk in chunks).decode(errors="replace")

    def until(self, job_id: str, *states: str, timeout_s: float = LONG_S) -> Values:
        return super().until(job_id, *states, timeout_s=timeout_s)

    def told(self, job_id: str) -> object:
        return self.job(job_id).get("message"), self.output(job_id, most=1500)


@contextmanager
def framework_yard(agents: int) -> Iterator[FrameworkYard]:
    """So many agents and a trainer; when it is over nothing of it may be left."""
    room = Path(tempfile.mkdtemp(prefix="yard-room-"))
    try:
        with new_yard(is_up=False, agents=agents, memory="16Gi") as yard:
            up = yard.up("--trainer")
            assert up.code == 0, f"{up.stderr}\n{yard.logs()}"
            yield FrameworkYard(yard, room / "jobs")
            done = yard.cli("down")
            assert done.code == 0, done.stderr
            assert not yard.left_over(), yard.left_over()
    finally:
        shutil.rmtree(room, ignore_errors=True)


def job(framework: str, *argv: str, env: Mapping[str, str] | None = None, **more: object) -> str:
    """A job file; `argv` is that of all roles to which the framework gives none."""
    document = {
        "kind": "Job", "framework": framework, "name": framework, "resources": {"cpu": 1},
        "env": {**QUIET, **(env or {})}, **({"argv": list(argv)} if argv else {}), **more,
    }  # fmt: skip
    return json.dumps(document)


def ranks_of(results: Sequence[Values]) -> list[tuple[int, int]]:
    """Who has reported, and of how many."""
    return [(one["rank"], one["world"]) for one in results]


def same_as(bare: Values, results: Sequence[Values], alone: Alone) -> None:
    """All have the numbers that were reached without the suite, and those of one process without the framework; the
    tolerances are those of sums in another order and of single precision."""
    assert results
    for one in results:
        assert {key: one[key] for key in alone} == pytest.approx({key: bare[key] for key in alone}, rel=1e-5)
        assert {key: one[key] for key in alone} == pytest.approx(dict(alone), rel=1e-4)
        assert one["accuracy"] > 0.95


def reference_after(steps: int = 0) -> dict[str, float]:
    """Loss and accuracy of so many steps in one process of plain NumPy; 0: as many as programs take."""
    sys.path.insert(0, str(PROGRAMS))
    try:
        import digits
    finally:
        sys.path.remove(str(PROGRAMS))
    return dict(digits.reference(steps or digits.STEPS))


def reported(output: str) -> list[Values]:
    """The result lines of programs, by rank where they have one."""
    found: list[Values] = [json.loads(text) for text in re.findall(r"result (\{.*?\})", output)]
    return sorted(found, key=lambda values: values.get("rank", 0))


def by_hand(*processes: tuple[Sequence[str], Mapping[str, object]]) -> list[Values]:
    """What processes report that are started side by side as a person would, without the suite. Each is its words, of
    which the first is a program of the environment, and its variables."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    base = {
        **kept,
        **QUIET,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with tempfile.TemporaryFile() as out:
        started = [
            subprocess.Popen(
                words, env={**base, **{name: str(value) for name, value in env.items()}}, cwd=PROGRAMS,
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )
            for words, env in processes
        ]  # fmt: skip
        try:
            codes = [process.wait(LONG_S) for process in started]
        finally:
            for process in started:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        out.seek(0)
        text = out.read().decode(errors="replace")
    found = reported(text)
    assert found and not any(codes), f"{codes}\n{text}"
    return found
