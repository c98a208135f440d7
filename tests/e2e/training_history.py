"""What training jobs did and what was told of them, written down as it happened; what must be true of it afterwards.

Every process of a job appends lines to a file of its instance and holds a lock of its instance's while it lives: a
second one beside it is seen by the kernel, not by the clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.v1 import job_pb2
from tests.support.frames import is_alive

ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_STOPPED)
PROGRAM = """
import fcntl, os, signal, socket, sys, time
from pathlib import Path

job, role, index, epoch, seconds, *acts = sys.argv[1:]
name, epoch = f"{role}-{index}", int(epoch)
room = Path(__file__).parent / job
room.mkdir(exist_ok=True)


def say(word):
    with (room / f"{name}.log").open("a") as log:
        log.write(f"{name} {word} {epoch} {os.getpid()} {time.time() * 1000:.0f}\\n")


lock = (room / f"{name}.lock").open("w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    say("doubled")
say("begins")
signal.signal(signal.SIGTERM, lambda *_: (say("asked"), sys.exit(0)))
if "serve" in acts:
    listener = socket.create_server(("", int(os.environ["YARD_PORT_RPC"])))
    while True:
        listener.accept()[0].close()
end = time.monotonic() + float(seconds)
while time.monotonic() < end:
    print("works", flush=True)
    time.sleep(0.1)
for act in acts:
    kind, _, value = act.partition("=")
    if kind == "fails" and epoch <= int(value):
        say("fails")
        sys.exit(f"{name} gives up")
say("ends")
"""


@dataclass(frozen=True)
class Line:
    """A program said so."""

    name: str
    word: str
    epoch: int
    pid: int
    time_ms: int


@dataclass
class Run:
    """A job that was taken, and what its client was told."""

    kind: str
    job: str
    may_end: Sequence[int]
    told: list[int] = field(default_factory=list)
    """The states of its end, each time somebody was told."""


@dataclass
class TrainingHistory:
    """Every job of a run of the chaos, in a room where their programs write."""

    room: Path
    runs: list[Run] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def begin(self) -> Path:
        """The program that every job runs."""
        self.room.mkdir(parents=True)
        program = self.room / "program.py"
        program.write_text(PROGRAM)
        return program

    def lines(self, job: str) -> list[Line]:
        """What a job's programs said, instance by instance; a last line that is torn is left out."""
        found = []
        for file in sorted((self.room / job).glob("*.log")):
            for text in file.read_text().splitlines(keepends=True):
                if text.endswith("\n"):
                    name, word, epoch, pid, time_ms = text.split()
                    found.append(Line(name, word, int(epoch), int(pid), int(time_ms)))
        return found

    def alive(self, job: str) -> list[int]:
        """Processes that said that they began, and live."""
        return sorted({line.pid for line in self.lines(job) if is_alive(line.pid)})

    def check(self, run: Run, job: job_pb2.Job, instances: Sequence[job_pb2.Instance]) -> list[str]:
        """What is not as promised; empty: all is well."""
        lines = self.lines(run.job)
        wrong = [
            *_wrong_end(run, job), *_wrong_epochs(lines, instances), *_wrong_times(lines, job),
            *_wrong_budgets(job), *_without_evidence(lines, instances),
        ]  # fmt: skip
        return [f"{run.kind} {run.job}: {text}" for text in wrong]


def _wrong_end(run: Run, job: job_pb2.Job) -> list[str]:
    """I1: one end, the same for everybody, and one that this kind of job may have."""
    wrong = []
    if job.state not in run.may_end:
        wrong.append(f"ended as {_word(job.state)}, {job.reason}: {job.message}")
    if set(run.told) != {job.state}:
        wrong.append(f"{[_word(state) for state in run.told]} was told, {_word(job.state)} is recorded")
    decided = [
        one for one in job.conditions if one.kind == job_pb2.JOB_CONDITION_KIND_DECIDED and one.is_true
    ]
    if len(decided) != 1:
        wrong.append(f"it was decided {len(decided)} times")
    return wrong


def _wrong_epochs(lines: Sequence[Line], instances: Sequence[job_pb2.Instance]) -> list[str]:
    """I2: never two at a time, no launch twice, none that the trainer does not know of."""
    wrong = [f"{line.name} lived twice in epoch {line.epoch}" for line in lines if line.word == "doubled"]
    begun = Counter((line.name, line.epoch) for line in lines if line.word == "begins")
    wrong += [
        f"{name} began {times} times in epoch {epoch}" for (name, epoch), times in begun.items() if times > 1
    ]
    known = {f"{one.role}-{one.index}": one.epoch for one in instances}
    for name, epoch in begun:
        if epoch > known.get(name, epoch):
            wrong.append(f"{name} began in epoch {epoch}, {known[name]} is the last that was written")
    order: dict[str, int] = {}
    for line in lines:
        if line.word == "begins":
            if line.epoch < order.get(line.name, 0):
                wrong.append(f"{line.name} began in epoch {line.epoch} after {order[line.name]}")
            order[line.name] = line.epoch
    return wrong


def _wrong_times(lines: Sequence[Line], job: job_pb2.Job) -> list[str]:
    """I1, I5: nothing begins after the end."""
    end_ms = job.end_time.ToMilliseconds()
    return [
        f"{line.name} began {line.time_ms - end_ms} ms after the end"
        for line in lines
        if line.word == "begins" and line.time_ms > end_ms
    ]


def _wrong_budgets(job: job_pb2.Job) -> list[str]:
    """I3."""
    return [f"budget {one}" for one in job.budgets if 0 <= one.most < one.used]


def _without_evidence(lines: Sequence[Line], instances: Sequence[job_pb2.Instance]) -> list[str]:
    """Whoever succeeded came to the end of its program in that epoch."""
    ended = {(line.name, line.epoch) for line in lines if line.word in ("ends", "asked")}
    names = [(f"{one.role}-{one.index}", one.epoch) for one in instances if _has_succeeded(one)]
    return [
        f"{name} succeeded in epoch {epoch} without having ended"
        for name, epoch in names
        if (name, epoch) not in ended
    ]


def _has_succeeded(instance: job_pb2.Instance) -> bool:
    return instance.state == job_pb2.INSTANCE_STATE_SUCCEEDED


def _word(state: int) -> str:
    return job_pb2.JobState.Name(state).removeprefix("JOB_STATE_")  # type: ignore[arg-type]
