"""Roles in containers: they meet, report, go on from checkpoints, outlive their agent, and leave nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.enclosure.container import LABEL
from modelyard.enclosure.engine import Engine
from services.agent.host.cookies import cookie
from tests.support.enclosed_frames import IMAGE, need
from tests.support.registry import answering
from tests.support.wait import wait_until_sync
from tests.support.yard import Yard, new_yard

TRAIN = """
import json, os, pathlib, socket, sys, time, urllib.request

rank, address = int(os.environ["RANK"]), (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
print("rank", rank, "as", os.getuid(), "in", pathlib.Path("/task").exists(), flush=True)
if rank == 0:
    with socket.create_server(address) as server:
        server.accept()[0].sendall(b"go")
else:
    for _ in range(300):
        try:
            link = socket.create_connection(address)
            break
        except OSError:
            time.sleep(0.1)
    assert link.recv(2) == b"go"
before = os.environ.get("YARD_RESUME_FROM")
begin = json.loads(pathlib.Path(before).read_text())["step"] + 1 if before else 0
print("begins at", begin, flush=True)
for step in range(begin, 12):
    token = pathlib.Path(os.environ["YARD_REPORT_TOKEN"]).read_text()
    body = json.dumps({"step": step, "total": 12, "loss": 1 / (step + 1)}).encode()
    headers = {"Authorization": f"Bearer {token}"}
    urllib.request.urlopen(urllib.request.Request(os.environ["YARD_REPORT_URL"], body, headers))
    if rank == 0:
        draft = pathlib.Path("draft")
        draft.write_text(json.dumps({"step": step}))
        draft.rename(os.environ["YARD_CHECKPOINT_DIR"] + f"/{step:03}.json")
    if step == 5 and "dies" in sys.argv and not begin:
        time.sleep(1.5)
        os.kill(os.getpid(), 11)
    while "waits" in sys.argv and step == 5:
        time.sleep(0.05)
    time.sleep(0.1)
"""
JOB = """kind: Job
framework: pytorch-ddp
name: contained
environment: {image: "IMAGE"}
argv: [python3, train.py, WORD]
resources: {cpu: 0.3, memory: 128Mi}
checkpoints: {dir: ckpt}
roles: {master: {}, worker: {}}
"""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    need("container")
    with new_yard(is_up=False, agents=1) as made:
        up = made.up("--trainer")
        assert up.code == 0, f"{up.stderr}\n{made.logs()}"
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(TRAIN)
    return tmp_path


def containers(yard: Yard) -> list[str]:
    (home,) = yard.agent_homes()
    labelled = Engine.find(os.environ).labelled(LABEL)
    return [one for one, whose in labelled.items() if whose.startswith(cookie(home, ""))]


def job_file(folder: Path, word: str, image: str = IMAGE) -> str:
    path = folder / "job.yaml"
    path.write_text(JOB.replace("WORD", word).replace("IMAGE", image))
    return str(path)


def submit(yard: Yard, folder: Path, word: str) -> str:
    done = yard.cli("train", "submit", job_file(folder, word), "--dir", str(folder))
    assert done.code == 0, done.stderr
    return done.stdout.split()[0]


def test_roles_meet_report_and_go_on_from_a_checkpoint_after_one_has_died(
    yard: Yard, folder: Path
) -> None:  # S3.8
    done = yard.cli("train", "run", job_file(folder, "dies"), "--dir", str(folder), timeout_s=120)
    assert done.code == 0, f"{done.stderr}\n{yard.logs()}"
    said = yard.cli("train", "logs", "j-1").stdout
    own = os.getuid() or 65_534
    assert f"rank 0 as {own} in False" in said and f"rank 1 as {own} in False" in said
    assert set(re.findall(r"begins at (\d+)", said)) >= {"0"} and re.search(r"begins at [1-6]\n", said), said
    job = yard.json("train", "get", "j-1")
    assert job["state"].endswith("SUCCEEDED") and not containers(yard)


def test_containers_of_roles_outlive_the_agent_and_end_with_the_job(
    yard: Yard, folder: Path
) -> None:  # S3.10
    job = submit(yard, folder, "waits")
    assert wait_until_sync(
        lambda: "step 5" in yard.cli("train", "get", job).stdout, "both are half way", timeout_s=90
    )
    before = sorted(containers(yard))
    assert len(before) == 2
    old = yard.kill("agent-node-1")
    yard.wait_for("agent-node-1", not_pid=old)
    assert sorted(containers(yard)) == before
    assert yard.cli("train", "stop", job).code == 0
    assert wait_until_sync(lambda: not containers(yard), "its containers are gone", timeout_s=60)


def test_suspended_job_leaves_no_container_and_goes_on_from_its_checkpoint(
    yard: Yard, folder: Path
) -> None:  # S3.8
    job = submit(yard, folder, "waits")
    assert wait_until_sync(
        lambda: "005.json" in yard.cli("train", "checkpoints", job).stdout, "both are half way", timeout_s=90
    )
    assert yard.cli("train", "suspend", job).code == 0
    assert wait_until_sync(
        lambda: yard.json("train", "get", job)["state"].endswith("SUSPENDED") and not containers(yard),
        "it rests, and its containers are gone",
        timeout_s=60,
    )
    assert yard.cli("train", "resume", job).code == 0
    done = yard.cli("train", "watch", job, timeout_s=90)
    assert done.code == 0, f"{done.stderr}\n{yard.logs()}"
    assert yard.cli("train", "logs", job).stdout.count("begins at 6\n") == 2, "both, from one moment"
    assert not containers(yard)


def test_image_that_cannot_be_had_ends_the_job_with_the_registrys_words(yard: Yard, folder: Path) -> None:
    with answering(404) as (registry, asked):
        image = f"{registry}/none:1"
        done = yard.cli("train", "run", job_file(folder, "x", image), "--dir", str(folder))
        assert done.code != 0
        assert f"{image} is not on this node and cannot be pulled" in done.stdout + done.stderr
        assert json.dumps(yard.json("tasks", "ls")).count(image) < 50
        assert len([path for path in asked if "manifests" in path]) <= 2, "it is asked for once"
