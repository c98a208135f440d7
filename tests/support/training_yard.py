"""A yard that trains: jobs through the command line, what they say of it through the contract, what they leave.

The program of jobs writes who it is into a room outside of the yard: a line `<role>-<index> <pid> <words>` each time.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.frames import is_alive
from tests.support.grpcurl import JOBS, TASKS, Grpcurl
from tests.support.wait import wait_until_sync
from tests.support.yard import ROOT, Yard, new_yard
from tests.support.yard_process import Result

WAIT_S = 60.0


PROGRAM = """
import os, signal, socket, sys, time
from pathlib import Path

room = Path(__file__).parent
name = os.environ["YARD_ROLE"] + "-" + os.environ["YARD_INDEX"]


def say(*words):
    with (room / f"{name}.log").open("a") as log:
        log.write(" ".join(map(str, (name, os.getpid(), *words))) + "\\n")


def door(file):
    while not (room / file).exists():
        time.sleep(0.01)


def talk():
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if rank == 0:
        listener = socket.create_server(("", place[1]))
        peers = [listener.accept()[0] for _ in range(world - 1)]
        total = sum(peer.recv(1)[0] for peer in peers)
        for peer in peers:
            peer.sendall(bytes([total]))
        return total
    while True:
        try:
            peer = socket.create_connection(place)
        except ConnectionRefusedError:
            time.sleep(0.01)
            continue
        peer.sendall(bytes([rank]))
        return peer.recv(1)[0]


def serve():
    door("listens")
    listener = socket.create_server(("", int(os.environ["YARD_PORT_RPC"])))
    say("listens")
    while True:
        listener.accept()[0].close()


def ask():
    host, _, port = os.environ["SERVER"].rpartition(":")
    socket.create_connection((host, int(port))).close()
    say("asked")


def begun_of(name):
    log = room / f"{name}.log"
    return log.read_text().count(" begins ") if log.exists() else 0


def fail(times):
    begun = begun_of(name)
    if name != "worker-0" or begun > times:
        return
    while begun_of("master-0") < begun:
        time.sleep(0.01)
    sys.exit("worker-0 gives up")


def stop_itself():
    if name == "worker-0" and begun_of(name) == 1:
        os.kill(os.getpid(), signal.SIGSTOP)


def sleep_for_ever():
    time.sleep(3_600)


say("begins", os.environ.get("RANK", "-"), os.environ.get("MASTER_PORT", "-"))
for step in sys.argv[1:]:
    word, _, value = step.partition("=")
    if word == "talk":
        say("total", talk())
    elif word == "fail":
        fail(int(value))
    elif word == "wait":
        door(value or "door")
    elif word == "save":
        signal.signal(signal.SIGTERM, lambda *_: (say("saved"), sys.exit(0)))
    elif word == "once" and begun_of(name) == 1:
        kind, _, what = value.partition("-")
        if kind == "line":
            print(what.replace("_", " "), flush=True)
            sys.exit(1)
        if kind == "exit":
            sys.exit(int(what))
        os.kill(os.getpid(), int(what))
    elif word == "fail_once":
        if begun_of(name) == 1:
            sys.exit("once")
    elif word == "stop_itself":
        stop_itself()
    elif word in ("sleep_for_ever", "hang_always"):
        if name == "worker-0" and (begun_of(name) == 1 or word == "hang_always"):
            sleep_for_ever()
    elif word == "linger":
        signal.signal(signal.SIGTERM, lambda *_: (door("lingers"), sys.exit(0)))
    elif word in ("serve", "ask"):
        globals()[word]()
say("ends")
"""


class TrainingYard:
    """A real yard with two agents and a trainer; `room` is where programs write."""

    def __init__(self, yard: Yard, room: Path) -> None:
        self.yard = yard
        self.room = room
        self.other: Yard | None = None
        """Another machine of it, where a test has one."""
        self.grpc = Grpcurl(yard)

    def submit(self, text: str) -> str:
        """The job's id. PROGRAM in its text is the program that writes into the room."""
        done = self.yard.cli("train", "run", "-", "--detach", stdin=self.with_program(text))
        assert done.code == 0, done.stderr
        return done.stdout.strip()

    def run(self, text: str) -> Result:
        """`yard train run` to the job's end."""
        return self.yard.cli("train", "run", "-", stdin=self.with_program(text))

    def with_program(self, text: str) -> str:
        """PROGRAM is the program that writes into the room."""
        return text.replace("PROGRAM", f"{sys.executable}, {self.room / 'program.py'}")

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.grpc.call(f"{JOBS}/GetJob", {"job_id": job_id})["job"]
        return found

    def instances(self, job_id: str) -> dict[str, dict[str, Any]]:
        """By role and index."""
        found = self.grpc.call(f"{JOBS}/ListInstances", {"job_id": job_id}).get("instances", [])
        return {f"{one['role']}-{one.get('index', 0)}": one for one in found}

    def until(self, job_id: str, *states: str, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """The job once it is in one of these states."""

        def found() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["state"].removeprefix("JOB_STATE_") in states else None

        job = wait_until_sync(
            found, f"{job_id} is {' or '.join(states)}", timeout_s=timeout_s, state=lambda: self.told(job_id)
        )
        assert job is not None
        return job

    def told(self, job_id: str) -> object:
        """For who waits in vain."""
        return self.job(job_id), self.instances(job_id), self.lines()

    # --- what programs have written

    def lines(self) -> list[list[str]]:
        """The words of every whole line, file by file."""
        return [
            line.split()
            for file in sorted(self.room.glob("*.log"))
            for line in file.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]

    def until_lines(self, count: int, word: str = "") -> list[list[str]]:
        """All lines, once there are so many with that word."""

        def found() -> list[list[str]]:
            lines = self.lines()
            return lines if sum(not word or word in one for one in lines) >= count else []

        return wait_until_sync(
            found,
            f"{count} lines with {word!r}",
            timeout_s=WAIT_S,
            state=lambda: (self.lines(), self.yard.logs()),
        )

    def open_door(self) -> None:
        """Programs that wait for the file `door` go on."""
        (self.room / "door").touch()

    # --- what is left

    def nothing_lives(self, job_id: str) -> None:
        """No process of it, no task of a seat, no directory of one (S3.11)."""
        self.until_gone(*(int(words[1]) for words in self.lines()))
        wait_until_sync(
            lambda: not self.seats(job_id), f"no seat of {job_id}", state=lambda: self.seats(job_id)
        )

    def until_gone(self, *pids: int) -> None:
        """Until these processes have ended."""
        wait_until_sync(
            lambda: not [pid for pid in pids if is_alive(pid)], f"{pids} have ended", timeout_s=WAIT_S,
            state=self.yard.task_processes,
        )  # fmt: skip

    def seats(self, job_id: str) -> list[str]:
        """Tasks of its seats that have not ended, by the scheduler."""
        request = {"filter": {"labels": {"job": job_id}}}
        tasks = self.grpc.call(f"{TASKS}/ListTasks", request).get("tasks", [])
        ended = ("TASK_STATE_SUCCEEDED", "TASK_STATE_FAILED", "TASK_STATE_CANCELLED")
        return [f"{task['id']} {task['state']}" for task in tasks if task["state"] not in ended]

    def emptied(self) -> TrainingYard:
        """With nothing written yet."""
        shutil.rmtree(self.room, ignore_errors=True)
        self.room.mkdir()
        (self.room / "program.py").write_text(PROGRAM)
        return self


@contextmanager
def training_yard(packages: Path | None = None, **options: Any) -> Iterator[TrainingYard]:
    """Two agents and a trainer; when it is over nothing of it may be left. `packages`: on its services' path too."""
    room = Path(tempfile.mkdtemp(prefix="yard-room-"))
    try:
        with new_yard(is_up=False, **options) as yard:
            if packages is not None:
                yard.environ = {"PYTHONPATH": f"{ROOT}:{packages}"}
            up = yard.up("--trainer")
            assert up.code == 0, f"{up.stderr}\n{yard.logs()}"
            yield TrainingYard(yard, room / "jobs")
            done = yard.cli("down")
            assert done.code == 0, done.stderr
            assert not yard.left_over(), yard.left_over()
    finally:
        shutil.rmtree(room, ignore_errors=True)
