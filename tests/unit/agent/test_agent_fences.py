"""Tasks that may not outlast the silence of the scheduler: the machine's part, and what it tells workers."""

from __future__ import annotations

from services.agent.tasks import effects as do
from services.agent.tasks.events import BeatAcknowledged, ClockTicked
from services.agent.tasks.fences import left_ms
from services.agent.tasks.model import Cause
from tests.support.agent_machine import Bench, body


def fences(effects: list[do.Effect]) -> list[str]:
    return [task.key for effect in effects if isinstance(effect, do.FenceWork) for task in effect.tasks]


def cancels(effects: list[do.Effect]) -> list[str]:
    return [effect.task.key for effect in effects if isinstance(effect, do.CancelTask)]


def started(silent_most_ms: int | None) -> Bench:
    bench = Bench()
    bench.start("t-1", of=body(silent_most_ms=silent_most_ms))
    bench.ready()
    bench.begin("t-1")
    return bench


def test_strict_task_is_ended_when_the_lease_is_over() -> None:  # promise 2
    bench = started(0)
    sent_ms = bench.now_ms
    bench.now_ms += 14_900
    assert not cancels(bench.apply(ClockTicked()))
    bench.now_ms = sent_ms + 15_000
    assert cancels(bench.apply(ClockTicked())) == ["t-1/1"]
    stop = bench.find("t-1")[1].stop
    assert stop is not None and stop.cause is Cause.NODE_LOST


def test_other_tasks_run_on_while_the_scheduler_is_silent() -> None:
    bench = started(None)
    bench.now_ms += 3_600_000
    assert not cancels(bench.apply(ClockTicked()))


def test_strict_task_with_a_longer_time_is_ended_by_that() -> None:
    bench = started(60_000)
    bench.now_ms += 59_900
    assert not cancels(bench.apply(ClockTicked()))
    bench.now_ms += 200
    assert cancels(bench.apply(ClockTicked())) == ["t-1/1"]


def test_every_acknowledged_beat_puts_the_end_off_and_tells_the_worker() -> None:
    bench = started(0)
    bench.now_ms += 10_000
    assert fences(bench.apply(BeatAcknowledged(bench.now_ms, 15_000))) == ["t-1/1"]
    bench.now_ms += 14_000
    assert not cancels(bench.apply(ClockTicked()))
    assert left_ms(bench.state, bench.state.tasks["t-1/1"], bench.now_ms) == 1_000


def test_plain_tasks_cost_a_beat_nothing() -> None:
    bench = started(None)
    assert not bench.state.fenced
    assert not fences(bench.apply(BeatAcknowledged(bench.now_ms, 15_000)))
