"""Checkpoints on a real yard: the newest whole one is handed on after any restart, also on another node (S3.8, G8)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.grpcurl import TASKS
from tests.support.moments import moment
from tests.support.training_yard import TrainingYard, training_yard
from tests.support.wait import wait_until_sync

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
    elif word == "move" and not before:
        sys.exit(3)
    elif word == "spoil" and not before:
        say("saved")
        door("door")
        (where / "step-1.pt").write_bytes(b"PK\\x03\\x04 spoiled")
        os.kill(os.getpid(), 9)
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
MOVING = """kind: Job
framework: plain
name: moves
argv: [PROGRAM, {steps}]
resources: {{cpu: 0.2}}
roles:
  worker:
    count: 1
    restart: {{max: 5, backoff: [100ms, 100ms], rules: [{{exit: 3, do: restart, avoid_node: true}}]}}
checkpoints: {{dir: deep/ckpt}}
"""
RANKS = """kind: Job
framework: pytorch-ddp
name: ranks
resources: {cpu: 2}
roles:
  master: {argv: [PROGRAM, more=2, fail=4], restart: {max: 5, backoff: [100ms, 100ms]}}
  worker: {argv: [PROGRAM]}
checkpoints: {dir: ckpt}
"""
KEEPING = """kind: Job
framework: plain
name: keeps
argv: [sh, -c, "mkdir out; echo $YARD_INDEX > out/index.txt; echo no > out/log"]
resources: {cpu: 0.2}
roles:
  worker: {count: 2, clean: {keep: ["out/*.txt"]}}
limits: {ttl: TTL}
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


def stored(yard: TrainingYard, job_id: str, count: int) -> list[str]:
    """Names of checkpoints that are in the store, once there are so many."""

    def found() -> list[str]:
        kept = yard.job(job_id).get("checkpoints", [])
        names = [one["name"] for one in kept if one.get("is_stored")]
        return names if len(names) >= count else []

    return (
        wait_until_sync(
            found, f"{count} checkpoints are stored", timeout_s=30, state=lambda: yard.told(job_id)
        )
        or []
    )


def test_checkpoint_comes_along_to_another_node(yard: TrainingYard) -> None:
    job_id = yard.submit(MOVING.format(steps="more=2, move"))
    yard.until(job_id, "SUCCEEDED")
    assert [words[:2] for words in begun(yard)] == [["0", "-"], ["2", "step-2.pt"]]
    tasks = yard.grpc.call(f"{TASKS}/ListTasks", {"filter": {"labels": {"job": job_id}}})["tasks"]
    assert len(tasks) == 2, "another seat, since the first one's node is avoided"


def test_ranks_go_on_from_one_moment_wherever_they_are(yard: TrainingYard) -> None:
    """Only the master writes; the worker is on another node and gets the same."""
    job_id = yard.submit(RANKS)
    yard.until(job_id, "SUCCEEDED")
    starts = [(words[0], words[3]) for words in yard.lines() if words[2] == "from"]
    masters = [step for name, step in starts if name == "master-0"]
    workers = [step for name, step in starts if name == "worker-0"]
    assert masters[0] == "0" and int(masters[-1]) >= 4
    assert set(workers) <= set(masters)


def test_spoiled_checkpoint_is_fetched_anew_by_its_digest(yard: TrainingYard) -> None:
    job_id = yard.submit(job("save=1", "spoil"))
    yard.until_lines(1, "saved")
    stored(yard, job_id, 1)
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    assert [words[:2] for words in begun(yard)] == [["0", "-"], ["1", "step-1.pt"]]


def test_deaths_of_trainer_and_agent_lose_no_checkpoint(yard: TrainingYard) -> None:
    job_id = yard.submit(job("more=2", "wait", "kill=3"))
    yard.until_lines(1, "waits")
    node = yard.instances(job_id)["worker-0"]["address"]["node"]
    for service in ("trainer", f"agent-{node}"):
        pid = yard.yard.kill(service)
        yard.yard.wait_for(service, not_pid=pid)
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    assert [words[:2] for words in begun(yard)] == [["0", "-"], ["2", "step-2.pt"], ["4", "step-4.pt"]]


def test_directory_on_a_shared_file_system_is_everybody_s(yard: TrainingYard) -> None:
    shared = yard.room / "shared"
    shared.mkdir()
    first = yard.submit(job("more=3", directory=str(shared)))
    yard.until(first, "SUCCEEDED")
    second = yard.submit(job("more=1", directory=str(shared)))
    yard.until(second, "SUCCEEDED")
    assert [words[:2] for words in begun(yard)] == [["0", "-"], ["3", "step-3.pt"]]
    assert sorted(path.name for path in shared.iterdir()) == [f"step-{step}.pt" for step in (1, 2, 3, 4)]
    assert not any(one.get("is_stored") for one in yard.job(second)["checkpoints"])


def test_only_the_last_are_kept_at_the_node_and_in_the_store(yard: TrainingYard) -> None:
    job_id = yard.submit(job("more=6", "wait"))
    yard.until_lines(1, "waits")

    def rest() -> bool:
        return stored(yard, job_id, 2) == ["step-5.pt", "step-6.pt"]

    wait_until_sync(rest, "the last two are left", timeout_s=30, state=lambda: yard.told(job_id))
    task = yard.instances(job_id)["worker-0"]["task_id"]
    (where,) = yard.yard.state.glob(f"agents/*/tasks/*{task}*/work/ckpt")

    def left() -> bool:
        return sorted(path.name for path in where.iterdir()) == ["step-5.pt", "step-6.pt"]

    wait_until_sync(left, "the others went from the node", state=lambda: sorted(where.iterdir()))
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    out = yard.room / "fetched"
    done = yard.yard.cli("train", "checkpoints", job_id, "--out", str(out))
    assert done.code == 0, done.stderr
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.pt")) == [
        "worker-0/step-5.pt",
        "worker-0/step-6.pt",
    ]


def test_kept_outputs_are_the_job_s_and_outlive_it(yard: TrainingYard) -> None:  # S3.11
    job_id = yard.submit(KEEPING.replace("TTL", "15s"))
    yard.until(job_id, "SUCCEEDED")
    job_found = yard.job(job_id)
    names = {one["name"]: one["digest"] for one in job_found["outputs"]}
    assert sorted(names) == ["worker-0/out/index.txt", "worker-1/out/index.txt"]
    assert moment(job_found["expire_time"]) > moment(job_found["end_time"])
    out = yard.room / "fetched"
    assert yard.yard.cli("train", "outputs", job_id, "--out", str(out)).code == 0
    assert (out / "worker-1" / "out" / "index.txt").read_text() == "1\n"
    wait_until_sync(
        lambda: yard.yard.cli("train", "get", job_id).code == 3, f"{job_id} is cleared", timeout_s=60,
        state=lambda: yard.told(job_id),
    )  # fmt: skip
    done = yard.yard.cli("artifacts", "get", names["worker-0/out/index.txt"], str(out / "again"))
    assert done.code == 0 and (out / "again").read_text() == "0\n"


def test_names_that_climb_out_are_refused(yard: TrainingYard) -> None:
    for directory in ("../ckpt", "a/../../b", "/a/../b", "''"):
        done = yard.run(job("more=1", directory=directory))
        assert done.code != 0 and "checkpoints.dir" in done.stderr, done.stderr
