"""Frameworks of installed packages on a real yard: asked for everything, unable to hold up the trainer (S3.2)."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.frames import is_alive
from tests.support.grpcurl import FRAMEWORKS
from tests.support.training_yard import TrainingYard, training_yard

PACKAGE = '''
import sys, time
from pathlib import Path
from modelyard.training import *
from modelyard.training.policies.status import role_state

ROOM = Path({room!r})


def misbehave(name):
    """As a file of the room says."""
    file = ROOM / name
    if not file.exists():
        return
    if file.read_text() == "raise":
        raise ValueError(name + " is broken")
    while True:
        pass


class Server(Role, frozen=True, kw_only=True):
    def address(self):
        return (Port("rpc"),)

    def create(self, instance):
        misbehave("create")
        print("packages may print")
        return Launch(processes=(Process(argv=({python!r}, str(ROOM / "program.py"), "serve")),))

    async def check(self, function, instance, probe):
        misbehave("check")
        return function == "answers" and await probe.connects(instance.place.ip, instance.place.ports["rpc"])


class Client(Role, frozen=True, kw_only=True):
    def depend(self):
        until = Readiness(kind=ReadinessKind.FUNCTION, function="answers")
        return (Dependency(role="server", until=until, timeout_s=8.0),)

    def create(self, instance):
        server = instance.peers("server")[0].place
        env = {{"SERVER": f"{{server.host}}:{{server.ports['rpc']}}"}}
        words = ("ask", "fail_once") if (ROOM / "fails").exists() else ("ask",)
        return Launch(processes=(Process(argv=({python!r}, str(ROOM / "program.py"), *words), env=env),))

    def restart(self, ending, purse):
        misbehave("restart")
        if ending.cause is Cause.SUCCESS:
            return Verdict(action=Action.SUCCEED, reason="SUCCESS", purse=purse)
        if purse.used or ending.cause is not Cause.EXIT:
            return Verdict(action=Action.FAIL, reason="CODE", purse=purse)
        spent = Purse(used=purse.used + 1)
        return Verdict(action=Action.RESTART, reason="CODE", delay_s=0.1, is_counted=True, purse=spent)

    def status(self, counts):
        misbehave("status")
        return role_state(self.policy, counts)


class Pair(Framework, frozen=True, kw_only=True):
    def status(self, roles):
        if RoleState.FAILED in roles.values():
            return Outcome.FAILED
        return Outcome.SUCCEEDED if roles["client"] is RoleState.SUCCEEDED else None


def pair():
    server = Server(name="server", policy=RolePolicy(is_endless=True))
    return Pair(id="coded-pair", roles=(server, Client(name="client")))


def broken():
    raise RuntimeError("no licence")
'''
JOB = """kind: Job
framework: coded-pair
name: pair
resources: {cpu: 0.2}
"""
PATIENT = f"""{JOB}roles:
  client: {{depend: [{{role: server, until: function, function: answers, timeout: 5m}}]}}
"""
OTHER = """kind: Job
framework: plain
argv: ["true"]
resources: {cpu: 0.1}
"""


@pytest.fixture(scope="module")
def packages() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="yard-packages-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def yard_of_module(packages: Path) -> Iterator[TrainingYard]:
    info = packages / "coded_pair-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: coded-pair\nVersion: 1.0\n")
    points = "pair = coded_pair:pair\nbroken = coded_pair:broken\n"
    (info / "entry_points.txt").write_text(f"[modelyard.frameworks]\n{points}")
    room = Path(tempfile.mkdtemp(prefix="yard-coded-"))
    (packages / "coded_pair.py").write_text(PACKAGE.format(room=str(room), python=sys.executable))
    with training_yard(packages) as made:
        made.room = room
        yield made
    shutil.rmtree(room, ignore_errors=True)


@pytest.fixture
def yard(yard_of_module: TrainingYard) -> TrainingYard:
    made = yard_of_module.emptied()
    (made.room / "listens").touch()
    return made


def workers(yard: TrainingYard) -> list[int]:
    """Processes of packages."""
    return [pid for pid, line in yard.yard.processes().items() if "services.trainer.plugins.worker" in line]


def test_package_makes_judges_and_restarts_instances_where_its_code_runs(yard: TrainingYard) -> None:
    """S3.2, S3.5, S3.8: create, check, restart, both policies; render shows what it would make."""
    (yard.room / "fails").touch()
    rendered = yard.grpc.call(f"{FRAMEWORKS}/RenderJob", {"job": {"text": JOB}})["instances"]
    assert [one["processes"][0]["argv"][-1] for one in rendered] == ["serve", "fail_once"]
    listed = yard.grpc.call(f"{FRAMEWORKS}/ListFrameworks", {"page_size": 100})["frameworks"]
    assert [one["id"] for one in listed if one["origin"] == "FRAMEWORK_ORIGIN_PLUGIN"] == ["coded-pair"]
    job_id = yard.submit(JOB)
    yard.until(job_id, "SUCCEEDED")
    begun = [words[0] for words in yard.lines() if words[2] == "begins"]
    assert begun == ["client-0"] * 2 + ["server-0"]
    assert yard.instances(job_id)["client-0"]["restart_count"] == 1
    assert yard.job(job_id)["state"] == "JOB_STATE_SUCCEEDED"
    yard.nothing_lives(job_id)


@pytest.mark.parametrize(
    ("function", "manner", "words"),
    [
        ("create", "loop", "its function create did not answer within 5 s"),
        ("create", "raise", "its function create failed: ValueError: create is broken"),
        ("status", "loop", "its function status did not answer within 5 s"),
        ("restart", "raise", "its function restart failed: ValueError: restart is broken"),
        ("check", "loop", "its function check did not answer within 3 s"),
        ("check", "raise", "its function check failed: ValueError: check is broken"),
    ],
)
def test_package_that_loops_or_raises_fails_its_job_in_words_and_nobody_else(
    yard: TrainingYard, function: str, manner: str, words: str
) -> None:
    """S3.2: the trainer serves others meanwhile, and the package's process is another one afterwards."""
    if function == "restart":
        (yard.room / "fails").touch()
    (yard.room / function).write_text(manner)
    job_id = yard.submit(JOB)
    began = time.monotonic()
    other = yard.submit(OTHER)
    yard.until(other, "SUCCEEDED")
    assert function in ("status", "restart") or time.monotonic() - began < 60
    job = yard.until(job_id, "FAILED", "SUCCEEDED")
    told = f"{job.get('message')} {yard.instances(job_id)}"
    assert job["state"] == "JOB_STATE_FAILED", told
    assert (words in told and "coded-pair" in told) or "pair" in told, told
    yard.nothing_lives(job_id)
    (yard.room / function).unlink()
    (yard.room / "fails").unlink(missing_ok=True)
    again = yard.submit(JOB)
    yard.until(again, "SUCCEEDED")


def test_killed_trainer_leaves_no_process_of_a_package_and_asks_again(yard: TrainingYard) -> None:
    """S3.10: what was asked follows from the state."""
    (yard.room / "create").write_text("loop")
    job_id = yard.submit(PATIENT)
    before = workers(yard)
    assert before
    killed = yard.yard.kill("trainer")
    (yard.room / "create").unlink()
    yard.yard.wait_for("trainer", not_pid=killed)
    yard.until(job_id, "SUCCEEDED")
    yard.until_gone(*before)
    assert not [pid for pid in before if is_alive(pid)]
