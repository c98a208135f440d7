"""Sweeps over the contract: who sees them, pages, filters, and watches without gap or repeat, over restarts too."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import grpc.aio
import pytest

from modelyard.v1 import job_pb2
from modelyard.v1 import sweep_pb2 as pb
from tests.support.scheduler_service import refusal
from tests.support.trainer_yard import SWEEP, TrainerClient, TrainerYard, trainer_yard

MANY = SWEEP.replace("[50, 60, 70]", "{int: [1, 9]}")


async def stop_trial(client: TrainerClient, sweep_id: str, number: int) -> None:
    trials = (await client.sweeps.ListTrials(pb.ListTrialsRequest(sweep_id=sweep_id))).trials
    await client.jobs.StopJob(job_pb2.StopJobRequest(job_id=trials[number - 1].job_id))


async def until_end(client: TrainerClient, sweep_id: str, revision: int = 0) -> list[pb.WatchSweepResponse]:
    call = client.sweeps.WatchSweep(pb.WatchSweepRequest(sweep_id=sweep_id, revision=revision))
    return [response async for response in call]


@pytest.mark.asyncio
async def test_sweep_is_begun_shown_and_kept_over_a_restart(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        made = (await yard.admin.sweeps.CreateSweep(pb.CreateSweepRequest(text=SWEEP))).sweep
        assert (made.id, made.state, made.trial_count, made.begun_count) == (
            "s-1",
            pb.SWEEP_STATE_RUNNING,
            3,
            2,
        )
        shown = (await yard.admin.sweeps.GetSweep(pb.GetSweepRequest(sweep_id="s-1"))).sweep
        assert (shown.document, shown.parameters[0].space) == (SWEEP, "choice of 50, 60, 70")
        await yard.restart()
        again = (await yard.admin.sweeps.GetSweep(pb.GetSweepRequest(sweep_id="s-1"))).sweep
        assert again == shown
        trials = (await yard.admin.sweeps.ListTrials(pb.ListTrialsRequest(sweep_id="s-1"))).trials
        assert [json.loads(one.values_json) for one in trials] == [{"seconds": 50}, {"seconds": 60}]
        job = (await yard.admin.jobs.GetJob(job_pb2.GetJobRequest(job_id=trials[1].job_id))).job
        assert (job.name, dict(job.labels)) == ("some-2", {"sweep": "s-1", "trial": "2"})


@pytest.mark.asyncio
async def test_validated_sweep_leaves_nothing(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        request = pb.CreateSweepRequest(text=SWEEP, validate_only=True, name="other", parallel_count=3)
        made = (await yard.admin.sweeps.CreateSweep(request)).sweep
        assert (made.id, made.name, made.parallel_count, made.trial_count) == ("", "other", 3, 3)
        assert not (await yard.admin.sweeps.ListSweeps(pb.ListSweepsRequest())).sweeps
        assert not (await yard.admin.jobs.ListJobs(job_pb2.ListJobsRequest())).jobs


@pytest.mark.asyncio
async def test_sweep_of_another_account_is_not_there(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        ada, bob = await yard.user("ada"), await yard.user("bob")
        sweep = await ada.begin()
        calls = [
            bob.sweeps.GetSweep(pb.GetSweepRequest(sweep_id=sweep)),
            bob.sweeps.ListTrials(pb.ListTrialsRequest(sweep_id=sweep)),
            bob.sweeps.StopSweep(pb.StopSweepRequest(sweep_id=sweep)),
            bob.sweeps.SuspendSweep(pb.SuspendSweepRequest(sweep_id=sweep)),
            bob.sweeps.ResumeSweep(pb.ResumeSweepRequest(sweep_id=sweep)),
        ]
        for call in calls:
            assert (await refusal(call)).reason == "SWEEP_NOT_FOUND"
        with pytest.raises(grpc.aio.AioRpcError):
            await until_end(bob, sweep)
        assert not (await bob.sweeps.ListSweeps(pb.ListSweepsRequest())).sweeps
        everybody = pb.ListSweepsRequest(filter=pb.SweepFilter(all_accounts=True))
        assert not (await bob.sweeps.ListSweeps(everybody)).sweeps
        assert [one.id for one in (await yard.admin.sweeps.ListSweeps(everybody)).sweeps] == [sweep]
        assert (await yard.admin.sweeps.GetSweep(pb.GetSweepRequest(sweep_id=sweep))).sweep.account == "ada"


@pytest.mark.asyncio
async def test_sweeps_and_trials_come_in_pages_and_by_what_is_wanted(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        client = yard.admin
        made = [await client.begin(MANY.replace("parallel: 2", "parallel: 9")) for _ in range(3)]
        await client.sweeps.StopSweep(pb.StopSweepRequest(sweep_id=made[0]))
        await until_end(client, made[0])
        found: list[str] = []
        request = pb.ListSweepsRequest(page_size=2)
        while True:
            page = await client.sweeps.ListSweeps(request)
            found += [one.id for one in page.sweeps]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        assert found == made[::-1]
        wanted = pb.SweepFilter(states=[pb.SWEEP_STATE_STOPPED])
        stopped = await client.sweeps.ListSweeps(pb.ListSweepsRequest(filter=wanted))
        assert [one.id for one in stopped.sweeps] == [made[0]]
        numbers: list[int] = []
        trials = pb.ListTrialsRequest(sweep_id=made[1], page_size=4, order=pb.TRIAL_ORDER_BEST)
        while True:
            page_of_trials = await client.sweeps.ListTrials(trials)
            numbers += [one.number for one in page_of_trials.trials]
            trials.page_token = page_of_trials.next_page_token
            if not page_of_trials.next_page_token:
                break
        assert numbers == list(range(1, 10))
        trials.states.append(pb.TRIAL_STATE_PRUNED)
        trials.page_token = ""
        assert not (await client.sweeps.ListTrials(trials)).trials


@pytest.mark.asyncio
async def test_watch_tells_every_trial_to_the_end_without_gap_or_repeat(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        sweep = await yard.admin.begin(MANY)
        watching = asyncio.create_task(until_end(yard.admin, sweep))
        for number in range(1, 10):
            await stop_trial(yard.admin, sweep, number)
            trials = (await yard.admin.sweeps.ListTrials(pb.ListTrialsRequest(sweep_id=sweep))).trials
            assert len(trials) == min(9, number + 2)
        told = await asyncio.wait_for(watching, 30)
        revisions = [one.revision for one in told]
        assert revisions == sorted(set(revisions))
        last = {trial.number: trial.state for one in told for trial in one.trials}
        assert last == dict.fromkeys(range(1, 10), pb.TRIAL_STATE_STOPPED)
        assert (told[-1].sweep.state, told[-1].sweep.reason) == (pb.SWEEP_STATE_FAILED, "EVERY_TRIAL_ENDED")
        # Who comes again is told what came after, each trial as it is now.
        middle = revisions[len(revisions) // 2]
        rest = await until_end(yard.admin, sweep, middle)
        assert {trial.revision > middle for one in rest for trial in one.trials} == {True}
        await yard.restart()
        [whole] = await until_end(yard.admin, sweep)
        assert [trial.number for trial in whole.trials] == list(range(1, 10))


@pytest.mark.asyncio
async def test_suspended_sweep_begins_nothing_over_a_restart_until_it_is_resumed(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        sweep = await yard.admin.begin(MANY)
        request = pb.SuspendSweepRequest(sweep_id=sweep, comment="others first")
        made = (await yard.admin.sweeps.SuspendSweep(request)).sweep
        assert (made.state, made.message) == (pb.SWEEP_STATE_SUSPENDED, "others first")
        await yard.restart()
        await stop_trial(yard.admin, sweep, 1)
        shown = (await yard.admin.sweeps.GetSweep(pb.GetSweepRequest(sweep_id=sweep))).sweep
        assert (shown.state, shown.begun_count) == (pb.SWEEP_STATE_SUSPENDED, 2)
        resumed = (await yard.admin.sweeps.ResumeSweep(pb.ResumeSweepRequest(sweep_id=sweep))).sweep
        assert resumed.state == pb.SWEEP_STATE_RUNNING
        assert resumed.begun_count == 3
        refused = await refusal(yard.admin.sweeps.ResumeSweep(pb.ResumeSweepRequest(sweep_id=sweep)))
        assert refused.reason == "SWEEP_NOT_SUSPENDED"


@pytest.mark.asyncio
async def test_stopped_sweep_stays_as_it_is(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        sweep = await yard.admin.begin()
        stop = pb.StopSweepRequest(sweep_id=sweep, comment="enough")
        await yard.admin.sweeps.StopSweep(stop)
        await until_end(yard.admin, sweep)
        again = (await yard.admin.sweeps.StopSweep(pb.StopSweepRequest(sweep_id=sweep, comment="more"))).sweep
        assert (again.state, again.message) == (pb.SWEEP_STATE_STOPPED, "enough")
        refused = await refusal(yard.admin.sweeps.SuspendSweep(pb.SuspendSweepRequest(sweep_id=sweep)))
        assert refused.reason == "SWEEP_HAS_ENDED"


@pytest.mark.asyncio
async def test_wrong_file_is_refused_in_words_with_what_to_do(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        text = SWEEP.replace("${sweep.seconds}", "${sweep.second}")
        refused = await refusal(yard.admin.sweeps.CreateSweep(pb.CreateSweepRequest(text=text)))
        assert (refused.code, refused.reason, refused.field) == (
            "FAILED_PRECONDITION",
            "SWEEP_INVALID",
            "text",
        )
        assert "the sweep has no parameter second" in refused.message
        assert "did you mean 'seconds'?" in refused.next_step


async def counts(yard: TrainerYard) -> tuple[int, int]:
    jobs = (await yard.admin.jobs.ListJobs(job_pb2.ListJobsRequest(page_size=1000))).jobs
    return len(jobs), len({tuple(sorted(job.labels.items())) for job in jobs})


@pytest.mark.asyncio
async def test_trials_are_begun_once_over_many_restarts(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        sweep = await yard.admin.begin(MANY)
        for number in range(1, 5):
            await stop_trial(yard.admin, sweep, number)
            await yard.restart()
        assert await counts(yard) == (6, 6)
