"""Named points at which a service can be made to die, fail or stall; what the proofs of durability aim at.

Owns the list of points and what YARD_FAILPOINTS asks of them, for example
``scheduler.before_commit:kill@3,store.before_row:error,agent.before_send:pause=0.5@1``: die as by SIGKILL the
third time, fail every time, stall once for half a second. Off, which is the rule, a point is one look into an
empty dictionary.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass

from services.chassis.errors import StartRefused, Unavailable

VARIABLE = "YARD_FAILPOINTS"

POINTS: Mapping[str, str] = {
    "scheduler.before_commit": "a step is made, nothing of it is on disk",
    "scheduler.after_commit": "a step is on disk, nobody knows",
    "scheduler.before_answers": "agents have been told, clients have not",
    "scheduler.after_release": "everybody has been told",
    "scheduler.before_notify": "a message is due, nothing of it has left",
    "scheduler.after_notify": "a message was taken, its row does not know",
    "scheduler.after_notified": "a message was taken, its row says so",
    "agent.before_spawn": "a worker is wanted, none is started",
    "agent.before_run": "a task has its worker, which does not know",
    "agent.after_report": "a worker's report is taken in, the scheduler has not heard",
    "agent.before_worker_ack": "the outcome is safe, the worker does not know",
    "agent.before_events": "events are packed, not sent",
    "agent.after_send": "a message is handed to the stream, its delivery is not known",
    "agent.after_commands": "commands are taken in, their arrival is not acknowledged",
    "graph.before_commit": "a step of runs is made, nothing of it is on disk",
    "graph.after_commit": "a step of runs is on disk, nobody knows",
    "graph.before_submit": "a batch of nodes is on disk, the scheduler has not heard of it",
    "graph.after_submit": "a batch of nodes has left, its answer is not known",
    "graph.before_errand": "what is owed to another service is on disk, that has not heard of it",
    "graph.after_errand": "what was owed is done, its row does not know",
    "graph.before_firing": "a trigger is due, nothing of its firing is on disk",
    "graph.after_firing": "a firing is on disk, its run is not",
    "trainer.before_commit": "a step of jobs is made, nothing of it is on disk",
    "trainer.after_commit": "a step of jobs is on disk, nobody knows",
    "trainer.before_submit": "a gang is on disk, the scheduler has not heard of it",
    "trainer.after_submit": "the scheduler has taken a gang, its tasks are not on disk",
    "trainer.after_release": "everything of a step is on its way",
    "trainer.before_commands": "commands for an agent are packed, none has left",
    "trainer.before_ack": "what an agent said is on disk, it does not know",
    "trainer.before_errand": "what is owed to another service is on disk, that has not heard of it",
    "trainer.after_errand": "what was owed is done, its row does not know",
    "models.before_commit": "a step of the catalogue is made, nothing of it is on disk",
    "models.after_commit": "a step of the catalogue is on disk, nobody knows",
    "models.before_submit": "an inspection or a probe is on disk, the scheduler has not heard of it",
    "models.after_submit": "the scheduler has taken it, its task is not on disk",
    "models.before_read": "it has ended, what it found is not read yet",
    "models.before_frames": "a step of frames is made, nothing of it is on disk",
    "models.after_frames": "a step of frames is on disk, nobody knows",
    "models.before_seat": "a frame's seat is on disk, the scheduler has not heard of it",
    "models.after_seat": "the scheduler has taken a frame's seat, its task is not on disk",
    "models.after_release": "everything of a step of frames is on its way",
    "models.before_commands": "commands for an agent are packed, none has left",
    "models.before_ack": "what an agent said of frames is on disk, it does not know",
    "models.before_errand": "what is owed to another service is on disk, that has not heard of it",
    "models.after_errand": "what was owed is done, its row does not know",
    "store.before_blob_sync": "all bytes of an upload are written, none need be on disk",
    "store.after_blob_sync": "the bytes are on disk under a temporary name",
    "store.before_row": "the bytes have their name, no row speaks of them",
    "store.after_row": "the row is on disk, the client does not know",
}
"""Every point and what is true there."""

_WISH = re.compile(r"(?P<name>[\w.]+):(?P<act>kill|error|pause=(?P<pause_s>[0-9.]+))(@(?P<nth>[1-9][0-9]*))?")


class FailpointUnknown(StartRefused):
    """YARD_FAILPOINTS asks for something that does not exist."""


class FailpointHit(Unavailable):
    """A failpoint made this fail, as YARD_FAILPOINTS asks."""


@dataclass
class _Wish:
    """What is to happen at a point; nth 0: every time."""

    act: str
    pause_s: float
    nth: int
    hits: int = 0


_wishes: dict[str, _Wish] = {}


def arm(environ: Mapping[str, str]) -> None:
    """Takes in what the environment asks for, in place of what was asked before. Raises FailpointUnknown."""
    wishes = dict(_parse(text.strip()) for text in environ.get(VARIABLE, "").split(",") if text.strip())
    _wishes.clear()
    _wishes.update(wishes)


def failpoint(name: str) -> None:
    """Does what is asked for at this point: nothing, end the process, stall it, or raise FailpointHit."""
    if _wishes:
        _hit(name)


def _parse(text: str) -> tuple[str, _Wish]:
    match = _WISH.fullmatch(text)
    if match is None:
        raise FailpointUnknown(
            f"{VARIABLE}: {text!r} is not name:kill, name:error or name:pause=SECONDS, with @N"
        )
    if match["name"] not in POINTS:
        raise FailpointUnknown(
            f"{VARIABLE}: there is no failpoint {match['name']!r}; known: {', '.join(sorted(POINTS))}"
        )
    act = match["act"].partition("=")[0]
    return match["name"], _Wish(act, float(match["pause_s"] or 0), int(match["nth"] or 0))


def _hit(name: str) -> None:
    wish = _wishes.get(name)
    if wish is None:
        return
    wish.hits += 1
    if wish.nth not in (0, wish.hits):
        return
    if wish.act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif wish.act == "pause":
        time.sleep(wish.pause_s)
    else:
        raise FailpointHit(f"the failpoint {name} made this fail")
