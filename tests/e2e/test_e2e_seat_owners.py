"""Two services own seats on the same agents at a time: neither sees, loses or ends what is the other's."""

from __future__ import annotations

import pytest

from modelyard.channel import connect
from modelyard.v1 import seat_pb2 as pb
from modelyard.v1 import task_pb2
from tests.support.seat_trainer import seat_spec, seat_trainer, submit_seats
from tests.support.wait import wait_until
from tests.support.yard import Yard

pytestmark = pytest.mark.asyncio

FOREVER = ["sleep", "600"]


async def test_agent_with_two_owners_keeps_their_seats_apart(own_yard: Yard) -> None:  # S3.6
    """Each owner has its own stream, epochs and numbers, also after the agent was killed."""
    yard = own_yard
    token = (yard.state / "secrets" / "service.token").read_text().strip()
    channel = connect(yard.endpoint, token=token)
    async with seat_trainer() as first, seat_trainer() as second:
        # So that epochs of the two cannot stand for each other.
        first.epoch, second.epoch = 7, 1
        small = {"resources": task_pb2.Resources(cpu=0.1), "placement": task_pb2.Placement(node="node-1")}
        (job,) = await submit_seats(channel, seat_spec(first, ports=["c10d"], spec=small))
        (frame,) = await submit_seats(
            channel, seat_spec(second, job_id="f-1", role="frame", ports=["serve"], spec=small)
        )
        for owner, task in ((first, job), (second, frame)):
            owner.launch(await owner.until(task, pb.SEAT_STATE_OPEN), 1, FOREVER)
            await owner.until(task, pb.SEAT_STATE_RUNNING)
        assert {seat.task_id for seat in first.seats.values()} == {job}
        assert {seat.task_id for seat in second.seats.values()} == {frame}
        pids = [list(owner.seats[f"{task}/1"].pids) for owner, task in ((first, job), (second, frame))]
        hellos = len(first.hellos), len(second.hellos)
        yard.kill("agent-node-1")
        await wait_until(
            lambda: len(first.hellos) > hellos[0] and len(second.hellos) > hellos[1],
            "both owners are greeted by the next agent", timeout_s=30,
        )  # fmt: skip
        for owner, task, before in ((first, job, pids[0]), (second, frame, pids[1])):
            seat = await owner.until(task, pb.SEAT_STATE_RUNNING)
            assert list(seat.pids) == before
            owner.stop_seat(seat)
            owner.close(await owner.until(task, pb.SEAT_STATE_ENDED))
            await owner.until(task, pb.SEAT_STATE_CLOSED)
    await channel.close()
