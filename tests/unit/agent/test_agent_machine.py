"""The agent's machine: queueing, capacity, ends, sessions. No process, no clock."""

from __future__ import annotations

from typing import Any

import pytest

from services.agent.tasks import effects as do
from services.agent.tasks.events import (
    BeatAcknowledged,
    ClockTicked,
    CommandsReceived,
    DrainBegan,
    HelloSaid,
    NeedFailed,
    NeedReady,
    OutputsStored,
    SessionOpened,
    StartAsked,
    TaskRestored,
    VerdictGiven,
    WorkBegun,
    WorkerLost,
    WorkerRestored,
    WorkReported,
)
from services.agent.tasks.model import Cause, Exit, Phase, Pool, StoredOutput, TaskError
from tests.support.agent_machine import CPU, Bench, body, ended


def make(**options: Any) -> Bench:
    bench = Bench(**options)
    bench.apply(ClockTicked())
    bench.ready()
    return bench


def test_start_with_room_runs_in_a_warm_worker_of_anybody() -> None:
    bench = make()
    bench.start("t-1")
    assert bench.handed() == {"t-1"}
    assert bench.state.workers[bench.find("t-1")[0]].pool == Pool("ann")


def test_starts_beyond_capacity_wait_until_a_slot_is_free() -> None:
    bench = make()
    bench.start("t-1", "t-2", "t-3")
    assert bench.handed() == {"t-1", "t-2"}
    bench.end("t-1", duration_ms=500)
    assert bench.handed() == {"t-2", "t-3"}


def test_worker_of_one_account_never_serves_another() -> None:
    bench = make()
    bench.start("t-1")
    first = bench.find("t-1")[0]
    bench.end("t-1")
    bench.start("t-2", of=body(2, account="bob"))
    bench.ready()
    assert bench.find("t-2")[0] != first


def test_worker_of_one_environment_never_serves_another() -> None:
    bench = make()
    bench.start("t-1", of=body(1, pool=Pool("ann", "env-a")))
    bench.ready()
    first = bench.find("t-1")[0]
    bench.end("t-1")
    bench.start("t-2", of=body(2, pool=Pool("ann", "env-b")))
    bench.ready()
    assert bench.find("t-2")[0] != first


def test_direct_start_goes_before_prefilled_ones_that_came_earlier() -> None:
    bench = make(cpu=CPU)
    bench.start("t-1")
    bench.start("p-1", prefill=True)
    bench.start("t-2")
    bench.end("t-1", duration_ms=100)
    assert bench.handed() == {"t-2"}


def test_short_calls_are_handed_ahead_into_the_workers_queue() -> None:
    bench = make(cpu=CPU)
    bench.start("t-1")
    bench.end("t-1", duration_ms=0)
    bench.start(*[f"p-{i}" for i in range(50)], prefill=True)
    assert len(bench.handed()) == 33
    assert bench.state.free["cpu"] == 0


def test_long_calls_are_not_handed_ahead() -> None:
    bench = make(cpu=CPU)
    bench.start("t-1")
    bench.end("t-1", duration_ms=1_000)
    bench.start("p-1", "p-2", prefill=True)
    assert bench.handed() == {"p-1"}


def test_call_that_overruns_gives_back_what_waits_behind_it() -> None:
    bench = make(cpu=CPU)
    bench.start("t-1")
    bench.end("t-1", duration_ms=0)
    bench.start("p-1", "p-2", prefill=True)
    bench.now_ms += 200
    bench.apply(ClockTicked())
    assert [effect.task.task_id for effect in bench.wanted(do.CancelTask)] == ["p-2"]
    bench.withdraw("p-2")
    assert bench.state.tasks["p-2/1"].phase is Phase.WAITING
    bench.end("p-1", duration_ms=200)
    assert bench.handed() == {"p-2"}


def test_short_task_is_told_in_one_event() -> None:
    bench = make()
    bench.start("t-1")
    bench.begin("t-1")
    bench.end("t-1", value_json="1")
    assert bench.tell() == ended(["t-1"])


def test_task_that_goes_on_is_told_as_started_once() -> None:
    bench = make()
    bench.start("t-1")
    bench.begin("t-1")
    assert bench.tell() == [("STARTED", "t-1")]
    bench.end("t-1")
    assert bench.tell() == ended(["t-1"])


def test_command_repeated_is_applied_once() -> None:
    bench = make()
    asked = CommandsReceived(1, (StartAsked("t-1", 1, 7, body()),))
    bench.apply(asked)
    assert bench.apply(asked) == []
    bench.end("t-1")
    bench.tell()
    bench.acknowledge()
    assert bench.apply(asked) == []
    assert not bench.state.tasks


def test_acknowledged_end_is_forgotten_and_acknowledged_to_the_worker() -> None:
    bench = make()
    bench.start("t-1")
    worker = bench.find("t-1")[0]
    bench.end("t-1")
    bench.tell()
    assert bench.state.workers[worker].unacked == 1
    effects = bench.acknowledge()
    assert do.AckWork(worker, ("t-1/1/7/1",)) in effects
    assert not bench.state.tasks


def test_start_without_its_body_is_rejected() -> None:
    bench = make()
    bench.command(StartAsked("t-1", 1, 7, None))
    assert bench.tell() == [("REJECTED", "t-1")]


def test_start_larger_than_the_machine_is_rejected() -> None:
    bench = make()
    bench.start("t-1", of=body(cpu=3 * CPU))
    assert bench.tell() == [("REJECTED", "t-1")]
    assert bench.told[0].reason == "TOO_LARGE"


def test_retract_of_a_waiting_task_gives_it_back_and_leaves_a_started_one() -> None:
    bench = make(cpu=CPU)
    bench.start("t-1", "t-2")
    bench.begin("t-1")
    bench.retract("t-1", "t-2")
    assert bench.tell() == [("STARTED", "t-1"), ("RETRACTED", "t-2")]


def test_retract_of_a_handed_task_is_the_workers_word() -> None:
    bench = make()
    bench.start("t-1", "t-2")
    bench.retract("t-1", "t-2")
    bench.withdraw("t-1")
    bench.begin("t-2")
    assert bench.tell() == [("RETRACTED", "t-1"), ("STARTED", "t-2")]


def test_stop_of_a_waiting_task_ends_it_with_the_cause() -> None:
    bench = make(cpu=CPU)
    bench.start("t-1", "t-2")
    bench.stop("t-2")
    assert bench.tell() == ended(["t-2"])
    assert bench.state.tasks["t-2/1"].exit.error.cause is Cause.CANCELLED  # type: ignore[union-attr]


def test_stop_of_a_running_task_cancels_and_kills_after_the_grace() -> None:
    bench = make()
    bench.start("t-1")
    bench.begin("t-1")
    assert [effect.grace_ms for effect in bench.stop("t-1", grace_ms=500)] == [500]
    bench.now_ms += 600
    worker = bench.find("t-1")[0]
    assert do.KillWorker(worker) in bench.apply(ClockTicked())
    del bench.queues[worker]
    bench.apply(WorkerLost(worker, signal=9))
    task = bench.state.tasks["t-1/1"]
    assert task.exit is not None
    assert task.exit.error is not None
    assert (task.exit.error.cause, task.exit.error.signal) == (Cause.CANCELLED, 9)


def test_stopped_task_that_succeeds_all_the_same_is_a_success() -> None:
    bench = make()
    bench.start("t-1")
    bench.begin("t-1")
    bench.stop("t-1")
    bench.end("t-1", value_json="1")
    assert bench.state.tasks["t-1/1"].exit.error is None  # type: ignore[union-attr]


@pytest.mark.parametrize("phase", ["waiting", "running"])
def test_timeouts_end_a_task_with_their_cause(phase: str) -> None:
    limited = body(start_timeout_ms=1_000, run_timeout_ms=1_000)
    bench = make(cpu=CPU)
    if phase == "waiting":
        bench.start("t-0")
    bench.start("t-1", of=limited)
    if phase == "running":
        bench.begin("t-1")
    bench.now_ms += 1_001
    bench.apply(ClockTicked())
    if phase == "running":
        bench.end("t-1", TaskError(Cause.CANCELLED, "cancelled"))
    error = bench.state.tasks["t-1/1"].exit.error  # type: ignore[union-attr]
    assert error is not None
    assert error.cause is Cause.TIMEOUT
    assert ("start_timeout" if phase == "waiting" else "run_timeout") in error.message


def test_start_timeout_of_a_task_that_runs_is_over() -> None:
    bench = make()
    bench.start("t-1", of=body(start_timeout_ms=1_000))
    bench.begin("t-1")
    bench.now_ms += 2_000
    assert not [e for e in bench.apply(ClockTicked()) if isinstance(e, do.CancelTask)]


def test_worker_death_ends_its_running_task_and_gives_the_others_back() -> None:
    bench = make(cpu=CPU)
    bench.start("t-0")
    bench.end("t-0")
    bench.start("t-1", "t-2", prefill=True)
    worker = bench.find("t-1")[0]
    bench.begin("t-1")
    bench.queues[worker].clear()
    bench.apply(WorkerLost(worker, signal=11))
    bench.ready()
    error = bench.state.tasks["t-1/1"].exit.error  # type: ignore[union-attr]
    assert error is not None
    assert (error.cause, error.signal) == (Cause.SIGNAL, 11)
    assert bench.handed() == {"t-2"}
    assert bench.find("t-2")[0] != worker


def test_worker_killed_for_memory_ends_its_task_as_out_of_memory() -> None:
    bench = make()
    bench.start("t-1")
    worker = bench.find("t-1")[0]
    bench.apply(WorkerLost(worker, signal=9, out_of_memory=True))
    assert bench.state.tasks["t-1/1"].exit.error.cause is Cause.OUT_OF_MEMORY  # type: ignore[union-attr]


def test_worker_that_cannot_be_started_ends_one_task_and_says_why() -> None:
    bench = make(warm_workers=0)
    bench.start("t-1")
    worker = bench.state.tasks["t-1/1"].worker
    bench.apply(WorkerLost(worker, error="no such interpreter"))
    error = bench.state.tasks["t-1/1"].exit.error  # type: ignore[union-attr]
    assert error is not None
    assert error.cause is Cause.SETUP
    assert "no such interpreter" in error.message


def test_task_with_needs_waits_for_all_of_them_then_for_its_directory() -> None:
    bench = make()
    bench.start("t-1", of=body(needs=("bundle:ann:d", "environment:ann:e"), staged=True))
    assert [effect.need for effect in bench.wanted(do.Prepare)] == ["bundle:ann:d", "environment:ann:e"]
    bench.apply(NeedReady("bundle:ann:d"))
    assert not bench.handed()
    bench.apply(NeedReady("environment:ann:e"))
    assert bench.wanted(do.Prepare)[-1].need == "stage:t-1/1"
    bench.apply(NeedReady("stage:t-1/1"))
    assert bench.handed() == {"t-1"}


def test_need_that_cannot_be_met_ends_its_tasks_as_setup_and_is_tried_again_later() -> None:
    bench = make()
    needy = body(needs=("bundle:ann:d",))
    bench.start("t-1", "t-2", of=needy)
    bench.apply(NeedFailed("bundle:ann:d", "not in the store", "put it there"))
    assert bench.tell() == ended(["t-1", "t-2"])
    error = bench.told[0].task.exit.error  # type: ignore[union-attr]
    assert error is not None
    assert (error.cause, error.next_step) == (Cause.SETUP, "put it there")
    bench.start("t-3", of=needy)
    assert len(bench.wanted(do.Prepare)) == 2


def test_need_that_is_there_is_not_prepared_again() -> None:
    bench = make()
    needy = body(needs=("bundle:ann:d",))
    bench.start("t-1", of=needy)
    bench.apply(NeedReady("bundle:ann:d"))
    bench.start("t-2", of=needy)
    assert bench.handed() == {"t-1", "t-2"}


def test_outputs_are_stored_before_the_end_is_told() -> None:
    bench = make()
    bench.start("t-1", of=body(keeps_outputs=True))
    bench.end("t-1", value_json="1")
    assert bench.tell() == []
    assert bench.state.free["cpu"] == 2 * CPU
    stored = Exit(None, "1", outputs=(StoredOutput("a", "d" * 64, 1),))
    bench.apply(OutputsStored("t-1/1", stored))
    assert bench.tell() == ended(["t-1"])


def test_lease_over_starts_nothing_and_runs_on() -> None:
    bench = make(cpu=CPU)
    bench.start("t-1")
    bench.begin("t-1")
    bench.start("t-2")
    bench.now_ms += 15_001
    bench.end("t-1", duration_ms=500)
    assert bench.handed() == set()
    bench.apply(BeatAcknowledged(bench.now_ms))
    assert bench.handed() == {"t-2"}


def test_lease_counts_from_when_the_beat_left() -> None:
    bench = make(cpu=CPU)
    bench.apply(BeatAcknowledged(5_000))
    bench.now_ms = 20_000
    bench.start("t-1")
    assert bench.handed() == set()


def test_lease_over_calls_handed_tasks_back() -> None:
    bench = make(cpu=CPU)
    bench.start("t-0")
    bench.end("t-0")
    bench.start("t-1", "t-2", prefill=True)
    bench.now_ms += 15_001
    bench.apply(ClockTicked())
    bench.withdraw("t-2")
    bench.end("t-1")
    assert bench.handed() == set()
    assert bench.state.tasks["t-2/1"].phase is Phase.WAITING


def test_new_session_tells_ends_again_unless_the_scheduler_took_them() -> None:
    bench = make()
    bench.start("t-1", "t-2")
    bench.end("t-1")
    bench.end("t-2")
    bench.tell()
    bench.open(verdicts=[VerdictGiven("t-1", 1, "FORGET"), VerdictGiven("t-2", 1, "KEEP")])
    assert bench.tell() == ended(["t-2"])
    assert set(bench.state.tasks) == {"t-2/1"}


def test_end_between_hello_and_welcome_is_told() -> None:
    bench = make()
    bench.start("t-1")
    bench.begin("t-1")
    bench.apply(HelloSaid())
    bench.end("t-1")
    bench.apply(SessionOpened(15_000, bench.now_ms, 0, (VerdictGiven("t-1", 1, "KEEP"),)))
    assert bench.tell() == ended(["t-1"])


def test_verdict_stop_ends_what_runs() -> None:
    bench = make()
    bench.start("t-1")
    bench.begin("t-1")
    bench.open(verdicts=[VerdictGiven("t-1", 1, "STOP")])
    assert [effect.task.task_id for effect in bench.wanted(do.CancelTask)] == ["t-1"]


def test_credit_bounds_what_is_under_way() -> None:
    bench = make()
    bench.state.outbox.credit = 1
    bench.start("t-1", "t-2")
    bench.end("t-1")
    bench.end("t-2")
    assert bench.tell() == ended(["t-1"])
    assert bench.tell() == []
    bench.acknowledge()
    assert bench.tell() == ended(["t-2"])


def test_drain_gives_back_what_waits_and_stops_the_rest_at_the_deadline() -> None:
    bench = make(cpu=CPU)
    bench.start("t-1", "t-2")
    bench.begin("t-1")
    bench.apply(DrainBegan(bench.now_ms + 1_000, "stopped"))
    bench.start("t-3")
    assert bench.tell() == [("STARTED", "t-1"), ("RETRACTED", "t-2"), ("REJECTED", "t-3")]
    bench.now_ms += 1_000
    bench.apply(ClockTicked())
    bench.end("t-1", TaskError(Cause.CANCELLED, "cancelled"))
    assert bench.state.tasks["t-1/1"].exit.error.cause is Cause.DRAINED  # type: ignore[union-attr]


def test_restored_worker_keeps_its_task_and_its_slot() -> None:
    bench = Bench()
    bench.queues["w4"] = []
    asked = StartAsked("t-1", 1, 7, body(run_timeout_ms=60_000))
    ahead = StartAsked("t-2", 1, 7, body())
    restored = (TaskRestored(asked, running=True, start_ms=500), TaskRestored(ahead))
    bench.apply(WorkerRestored("w4", Pool("ann"), restored))
    assert bench.state.tasks["t-1/1"].phase is Phase.RUNNING
    assert bench.state.free["cpu"] == CPU
    task = bench.state.tasks["t-1/1"]
    bench.queues["w4"] = [task, bench.state.tasks["t-2/1"]]
    bench.end("t-1")
    bench.begin("t-2")
    assert bench.tell() == [("EXITED", "t-1"), ("STARTED", "t-2")]


def test_restored_work_beyond_the_capacity_is_a_fact() -> None:
    bench = Bench(cpu=CPU)
    for number in (1, 2):
        asked = StartAsked(f"t-{number}", 1, 7, body())
        bench.queues[f"w{number}"] = []
        bench.apply(WorkerRestored(f"w{number}", Pool("ann"), (TaskRestored(asked, running=True),)))
    assert bench.state.free["cpu"] == -CPU
    bench.start("t-3")
    assert "t-3" not in bench.handed()


def test_report_of_an_unknown_task_is_acknowledged_and_dropped() -> None:
    bench = make()
    worker = next(iter(bench.state.workers))
    from services.agent.tasks.events import WorkDone

    effects = bench.apply(WorkReported(worker, done=(WorkDone("t-9/1/7/1", Exit()),)))
    assert effects == [do.AckWork(worker, ("t-9/1/7/1",))]


def test_begin_of_a_task_in_another_worker_is_ignored() -> None:
    bench = make()
    bench.start("t-1")
    other = next(name for name in bench.state.workers if name != bench.find("t-1")[0])
    bench.apply(WorkReported(other, begun=(WorkBegun("t-1/1/7/1", 1),)))
    assert bench.state.tasks["t-1/1"].phase is Phase.HANDED


def test_idle_claimed_workers_retire_and_fresh_ones_stay() -> None:
    bench = make(warm_workers=1)
    bench.start("t-1")
    bench.end("t-1")
    bench.tell()
    bench.acknowledge()
    bench.apply(ClockTicked())
    bench.ready()
    bench.now_ms += 60_001
    bench.apply(ClockTicked())
    assert len(bench.wanted(do.QuitWorker)) == 1
    assert sum(worker.pool is None for worker in bench.state.workers.values()) == 1


def test_spawning_is_bounded_when_calls_need_no_resources() -> None:
    bench = make(warm_workers=0)
    bench.start(*[f"t-{i}" for i in range(100)], of=body(cpu=0))
    assert len(bench.state.workers) == bench.state.settings.starting_most


def test_workers_are_bounded_and_idle_ones_make_room() -> None:
    bench = make(warm_workers=0, workers_most=1)
    bench.start("t-1")
    bench.ready()
    bench.end("t-1")
    bench.tell()
    bench.acknowledge()
    bench.start("t-2", of=body(2, account="bob"))
    assert len(bench.wanted(do.QuitWorker)) == 1


def test_same_events_give_the_same_effects() -> None:
    def play() -> list[Any]:
        bench = make()
        bench.start("t-1", "t-2", "t-3")
        bench.begin("t-1")
        bench.end("t-1")
        bench.stop("t-2")
        return [repr(effect) for effect in bench.effects]

    assert play() == play()
