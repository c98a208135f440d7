"""Modifications in the agent's machine (S0.7): time limits, parameters of what waits and of what runs, its answers."""

from __future__ import annotations

from typing import Any

from services.agent.tasks import effects as do
from services.agent.tasks.events import ClockTicked, ModifyAsked, NeedReady, WorkModified, WorkReported
from services.agent.tasks.model import Cause, Note, NoteKind, Phase
from tests.support.agent_machine import Bench, body


def make(**options: Any) -> Bench:
    bench = Bench(**options)
    bench.apply(ClockTicked())
    bench.ready()
    return bench


def answers(bench: Bench) -> list[tuple[str, int, str, str]]:
    """(task id, revision, field, why not) of what is told now."""
    _, notes = bench.state.outbox.take(1_000)
    bench.told += notes
    return [said(note) for note in notes if note.kind is NoteKind.MODIFIED]


def said(note: Note) -> tuple[str, int, str, str]:
    return note.task.task_id, note.revision, note.field, note.message


def changes(bench: Bench) -> list[do.ChangeParams]:
    return bench.wanted(do.ChangeParams)


def worker_says(bench: Bench, task_id: str, revision: int, *, accepted: bool, message: str = "") -> None:
    worker, task = bench.find(task_id)
    bench.apply(WorkReported(worker, modified=(WorkModified(task.work_key, revision, accepted, message),)))


def test_parameters_of_a_running_task_go_to_its_worker_whose_word_is_told() -> None:  # S0.7
    bench = make()
    bench.start("t-1", "t-2")
    bench.begin("t-1")
    bench.begin("t-2")
    bench.command(ModifyAsked("t-1", 1, 5, '{"a":1}'), ModifyAsked("t-2", 1, 6, '{"a":2}'))
    assert [(c.revision, c.params_json) for c in changes(bench)] == [(5, '{"a":1}'), (6, '{"a":2}')]
    assert not answers(bench)
    worker_says(bench, "t-1", 5, accepted=True)
    worker_says(bench, "t-2", 6, accepted=False, message="a must be odd")
    assert bench.state.outbox.urgent
    assert answers(bench) == [("t-1", 5, "params_json", ""), ("t-2", 6, "params_json", "a must be odd")]


def test_parameters_of_a_task_that_waits_here_are_what_it_starts_with() -> None:  # S0.7
    bench = make()
    bench.start("t-1", "t-2", "t-3", params_json='{"a":1,"b":1}')
    bench.command(ModifyAsked("t-3", 1, 5, '{"b":2}'))
    assert answers(bench) == [("t-3", 5, "params_json", "")]
    bench.end("t-1", duration_ms=500)
    _, task = bench.find("t-3")
    assert task.params_json == '{"a":1,"b":2}'
    assert not changes(bench)


def test_parameters_of_a_task_that_is_being_prepared_are_what_it_starts_with() -> None:
    bench = make()
    bench.start("t-1", of=body(needs=("bundle:ann:x",)))
    bench.command(ModifyAsked("t-1", 1, 5, '{"b":2}'))
    assert answers(bench) == [("t-1", 5, "params_json", "")]
    bench.apply(NeedReady("bundle:ann:x"))
    assert bench.find("t-1")[1].params_json == '{"b":2}'


def test_change_that_meets_a_call_back_comes_with_the_next_start() -> None:
    bench = make()
    bench.start("t-1")
    bench.command(ModifyAsked("t-1", 1, 5, '{"b":2}'))
    assert len(changes(bench)) == 1
    worker, task = bench.find("t-1")
    bench.withdraw("t-1")
    bench.apply(WorkReported(worker, modified=(WorkModified(task.work_key, 5, False, "not here", True),)))
    assert answers(bench) == [("t-1", 5, "params_json", "")]
    assert task.params_json == '{"b":2}'


def test_shorter_time_limit_ends_a_running_task_when_it_is_over() -> None:  # S0.7
    bench = make()
    bench.start("t-1", of=body(run_timeout_ms=60_000))
    bench.begin("t-1")
    bench.now_ms += 1_000
    bench.command(ModifyAsked("t-1", 1, 5, run_timeout_ms=2_000))
    assert answers(bench) == [("t-1", 5, "timeouts.run_timeout", "")]
    bench.now_ms += 900
    bench.apply(ClockTicked())
    assert not bench.wanted(do.CancelTask)
    bench.now_ms += 100
    bench.apply(ClockTicked())
    (cancel,) = bench.wanted(do.CancelTask)
    assert cancel.task.stop is not None
    assert (cancel.task.stop.cause, "of 2 s" in cancel.task.stop.message) == (Cause.TIMEOUT, True)


def test_longer_or_no_time_limit_outlasts_the_first_one() -> None:
    for limit_ms in (5_000, 0):
        bench = make()
        bench.start("t-1", of=body(run_timeout_ms=1_000))
        bench.begin("t-1")
        bench.command(ModifyAsked("t-1", 1, 5, run_timeout_ms=limit_ms))
        bench.now_ms += 4_900
        bench.apply(ClockTicked())
        assert not bench.wanted(do.CancelTask)
        bench.now_ms += 100
        bench.apply(ClockTicked())
        assert len(bench.wanted(do.CancelTask)) == (1 if limit_ms else 0)


def test_time_limit_of_a_waiting_task_counts_from_its_start() -> None:
    bench = make()
    bench.start("t-1")
    bench.command(ModifyAsked("t-1", 1, 5, run_timeout_ms=2_000))
    bench.now_ms += 10_000
    bench.begin("t-1")
    bench.apply(ClockTicked())
    assert not bench.wanted(do.CancelTask)
    bench.now_ms += 2_000
    bench.apply(ClockTicked())
    assert bench.wanted(do.CancelTask)


def test_change_of_a_task_that_has_ended_or_is_not_here_gets_no_answer() -> None:
    bench = make()
    bench.start("t-1")
    bench.end("t-1")
    bench.command(ModifyAsked("t-1", 1, 5, "{}", 1), ModifyAsked("t-9", 1, 6, "{}", 1))
    assert not answers(bench)
    assert not changes(bench)


def test_repeated_change_is_answered_again() -> None:
    bench = make()
    bench.start("t-1")
    bench.begin("t-1")
    for _ in range(2):
        bench.command(ModifyAsked("t-1", 1, 5, '{"a":1}'))
        worker_says(bench, "t-1", 5, accepted=True)
    assert answers(bench) == [("t-1", 5, "params_json", "")] * 2
    assert bench.find("t-1")[1].phase is Phase.RUNNING
