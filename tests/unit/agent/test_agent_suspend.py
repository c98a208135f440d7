"""Suspending and resuming on one machine: what is stopped, when, and what its time limit counts."""

from __future__ import annotations

from pathlib import Path

from services.agent.keeping.suspensions import Suspensions
from services.agent.tasks.effects import CancelTask, LimitSeat, ResumeWork, SuspendWork
from services.agent.tasks.events import (
    ClockTicked,
    ModifyAsked,
    ResumeAsked,
    StartAsked,
    SuspendAsked,
    TaskRestored,
    WorkerRestored,
)
from services.agent.tasks.model import Phase, Pool, SeatPlace
from tests.support.agent_machine import Bench, body
from tests.support.fake_clock import FakeClock

# No process has this number: the kernel's own limit is below it.
_NO_PROCESS = 1 << 30


def running(bench: Bench, *task_ids: str, **fields: object) -> None:
    bench.apply(ClockTicked())
    bench.ready()
    bench.start(*task_ids, of=body(**fields))  # type: ignore[arg-type]
    bench.ready()
    for task_id in task_ids:
        bench.begin(task_id)
    bench.tell()


def suspend(bench: Bench, task_id: str) -> None:
    bench.command(SuspendAsked(task_id, 1))


def resume(bench: Bench, task_id: str) -> None:
    bench.command(ResumeAsked(task_id, 1))


def test_running_task_is_stopped_told_and_let_go_on() -> None:  # S0.7
    bench = Bench()
    running(bench, "t-1")
    suspend(bench, "t-1")
    assert [effect.task.task_id for effect in bench.wanted(SuspendWork)] == ["t-1"]
    assert bench.tell() == [("SUSPENDED", "t-1")]
    suspend(bench, "t-1")
    assert len(bench.wanted(SuspendWork)) == 1
    assert bench.tell() == [("SUSPENDED", "t-1")]
    resume(bench, "t-1")
    assert len(bench.wanted(ResumeWork)) == 1
    assert bench.tell() == [("RESUMED", "t-1")]


def test_shim_of_a_seat_hears_that_its_time_stands_still_and_goes_on() -> None:  # S0.7
    bench = Bench()
    running(bench, "t-1", is_command=True, seat=SeatPlace("j-1", "worker", 0), run_timeout_ms=1_000)
    suspend(bench, "t-1")
    assert [effect.task.is_suspended for effect in bench.wanted(LimitSeat)] == [True]
    resume(bench, "t-1")
    assert len(bench.wanted(LimitSeat)) == 2
    bench.command(ModifyAsked("t-1", 1, 1, run_timeout_ms=5_000))
    assert len(bench.wanted(LimitSeat)) == 3


def test_task_that_has_not_begun_is_given_back() -> None:
    bench = Bench(cpu=10_000)
    running(bench, "t-1")
    bench.start("t-2")
    suspend(bench, "t-2")
    assert bench.tell() == [("RETRACTED", "t-2")]


def test_time_limit_does_not_count_while_it_is_stopped() -> None:
    bench = Bench()
    running(bench, "t-1", run_timeout_ms=1_000)
    bench.now_ms += 600
    suspend(bench, "t-1")
    bench.now_ms += 5_000
    bench.apply(ClockTicked())
    assert bench.wanted(CancelTask) == []
    resume(bench, "t-1")
    bench.now_ms += 300
    bench.apply(ClockTicked())
    assert bench.wanted(CancelTask) == []
    bench.now_ms += 200
    bench.apply(ClockTicked())
    assert len(bench.wanted(CancelTask)) == 1


def test_stop_lets_it_go_on_first_so_that_it_hears_the_signal() -> None:
    bench = Bench()
    running(bench, "t-1")
    suspend(bench, "t-1")
    effects = bench.stop("t-1")
    assert [type(effect) for effect in effects] == [ResumeWork, CancelTask]
    suspend(bench, "t-1")
    assert len(bench.wanted(SuspendWork)) == 1


def test_what_waits_behind_it_in_its_worker_is_called_back_before_it_is_stopped() -> None:
    bench = Bench(cpu=10_000)
    running(bench, "t-0")
    bench.end("t-0", duration_ms=1)
    bench.start("t-1", "t-2")
    bench.begin("t-1")
    assert {"t-1", "t-2"} <= bench.handed()
    suspend(bench, "t-1")
    assert bench.wanted(SuspendWork) == []
    assert [effect.task.task_id for effect in bench.wanted(CancelTask)] == ["t-2"]
    bench.withdraw("t-2")
    assert [effect.task.task_id for effect in bench.wanted(SuspendWork)] == ["t-1"]
    assert bench.state.tasks["t-2/1"].phase is Phase.WAITING


def test_later_agent_process_knows_that_it_is_stopped_and_for_how_long(tmp_path: Path) -> None:
    clock = FakeClock()
    bench = Bench()
    running(bench, "t-1", run_timeout_ms=10_000)
    task = bench.state.tasks["t-1/1"]
    task.paused_ms = 700
    file = Suspensions(tmp_path / "s.json", clock)
    file.begin(task, _NO_PROCESS)
    clock.turn(4_000)
    again = Suspensions(tmp_path / "s.json", clock)
    assert again.of("t-1/1") == (4_000, 700)
    assert again.of("t-2/1") == (-1, 0)
    later = Bench()
    started = TaskRestored(_start(bench), True, 0, *again.of("t-1/1"))
    later.now_ms = 50_000
    later.apply(WorkerRestored("w9", Pool("ann"), (started,)))
    found = later.state.tasks["t-1/1"]
    assert (found.is_suspended, found.suspended_ms, found.paused_ms) == (True, 46_000, 700)
    again.keep([])
    assert Suspensions(tmp_path / "s.json", clock).of("t-1/1") == (-1, 0)


def _start(bench: Bench) -> StartAsked:
    return StartAsked("t-1", 1, 7, bench.state.tasks["t-1/1"].body)
