"""How a sweep's end is told: the best trials in a few lines, once for each sweep (S0.8)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from modelyard.quantities import format_duration
from modelyard.v1 import contact_pb2, task_pb2
from modelyard.v1 import sweep_pb2 as pb
from services.chassis.peers import notice
from services.chassis.peers.contacts import Contacts
from services.chassis.steps.errands import Errand, one_by_one
from services.trainer.convert.sweep import STATES, trial_message
from services.trainer.model import SweepState
from services.trainer.telling.sweeps import Sweeps

SHOWN_MOST = 10
"""Trials that are told, the best first."""
EVENTS = {
    SweepState.SUCCEEDED: task_pb2.NOTIFICATION_EVENT_SUCCEEDED,
    SweepState.FAILED: task_pb2.NOTIFICATION_EVENT_FAILED,
    SweepState.STOPPED: task_pb2.NOTIFICATION_EVENT_FAILED,
}
_NUMBER = msgspec.msgpack.Decoder(int)


class SweepNotices:
    """A carrier: the scheduler has the contacts, and knows whom it has told."""

    def __init__(self, contacts: Contacts, sweeps: Sweeps) -> None:
        self._contacts = contacts
        self._sweeps = sweeps

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        """In the order of the ends."""
        await one_by_one(errands, lambda one: self._tell(account, _NUMBER.decode(one.content)))

    async def _tell(self, account: str, number: int) -> None:
        live = await self._sweeps.state_of(number)
        assert live is not None
        told = task_pb2.Notification.FromString(live.sweep.notification)
        event = EVENTS[live.sweep.state]

        async def message() -> contact_pb2.NotifyRequest:
            best = sorted(live.trials.values(), key=live.rank)[:SHOWN_MOST]
            sweep = self._sweeps.message(live, is_whole=True)
            return end_request(sweep, [trial_message(live, one) for one in best], event)

        await self._contacts.tell(account, told, event, message)


def end_request(
    sweep: pb.Sweep, best: Sequence[pb.Trial], event: task_pb2.NotificationEvent.ValueType
) -> contact_pb2.NotifyRequest:
    """How a sweep ended; the same sweep gives the same words each time."""
    word = {value: state.value for state, value in STATES.items()}[sweep.state]
    title = f"{' '.join(sweep.name.split())[:80]} ({sweep.id}) {word}"
    made = notice.request_of(
        sweep.id, sweep.create_time.ToMilliseconds(), word, kind=f"sweep.{word}", title=title
    )
    made.event = event
    made.notification.CopyFrom(sweep.notification)
    made.text = notice.text_of(_lines(sweep, word, best))
    made.facts_json = notice.facts_of(_facts(sweep, word, best), "trials")
    return made


def _lines(sweep: pb.Sweep, word: str, best: Sequence[pb.Trial]) -> Iterator[tuple[str, str]]:
    ran_s = (sweep.end_time.ToMilliseconds() - sweep.create_time.ToMilliseconds()) / 1000
    yield "sweep", sweep.id
    yield "name", sweep.name
    yield "framework", sweep.framework_id
    yield "state", word
    yield "account", sweep.account
    yield "why", sweep.message
    yield "ran", format_duration(max(ran_s, 0.0))
    yield "trials", f"{sweep.begun_count} of {sweep.trial_count}"
    for trial in best:
        if trial.HasField("score"):
            values = " ".join(
                f"{name}={value}" for name, value in sorted(json.loads(trial.values_json).items())
            )
            yield f"trial {trial.number}", f"{sweep.metric} {trial.score:.6g}, {values} ({trial.job_id})"
    yield "next", f"yard train sweep get {sweep.id}"


def _facts(sweep: pb.Sweep, word: str, best: Sequence[pb.Trial]) -> dict[str, Any]:
    return {
        "id": sweep.id,
        "name": sweep.name,
        "framework": sweep.framework_id,
        "state": word,
        "reason": sweep.reason,
        "message": sweep.message,
        "create_time": notice.time_of(sweep.create_time),
        "end_time": notice.time_of(sweep.end_time),
        "metric": sweep.metric,
        "seed": sweep.seed,
        "best_argv": list(sweep.best_argv),
        "trials": [_trial(one) for one in best],
    }


def _trial(one: pb.Trial) -> dict[str, Any]:
    state = pb.TrialState.Name(one.state).removeprefix("TRIAL_STATE_").lower()
    score = one.score if one.HasField("score") else None
    return {
        "number": one.number, "job": one.job_id, "state": state, "score": score, "values": json.loads(one.values_json),
    }  # fmt: skip
