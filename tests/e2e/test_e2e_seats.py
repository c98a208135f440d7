"""Seats on a real yard of two agents: what a trainer gets out of them, whatever dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest

from modelyard.channel import connect
from modelyard.v1 import job_pb2, task_pb2
from modelyard.v1 import seat_pb2 as pb
from tests.support.seat_trainer import seat_spec, seat_trainer, submit_seats
from tests.support.yard import Yard

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def service_channel(yard: Yard) -> AsyncIterator[grpc.aio.Channel]:
    token = (yard.state / "secrets" / "service.token").read_text().strip()
    channel = connect(yard.endpoint, token=token)
    try:
        yield channel
    finally:
        await channel.close()


async def test_seat_opens_launches_true_ends_and_closes(yard: Yard) -> None:
    """The whole way of a seat, and of its task."""
    async with seat_trainer() as trainer, service_channel(yard) as channel, yard.client() as client:
        (task_id,) = await submit_seats(channel, seat_spec(trainer, ports=["c10d"]))
        seat = await trainer.until(task_id, pb.SEAT_STATE_OPEN)
        assert (seat.job_id, seat.role, seat.index, seat.epoch) == ("j-1", "worker", 0, 0)
        assert seat.ports["c10d"] > 0
        trainer.launch(seat, 1, ["true"])
        ended = await trainer.until(task_id, pb.SEAT_STATE_ENDED)
        assert (ended.epoch, ended.exit.cause) == (1, job_pb2.EXIT_CAUSE_SUCCESS)
        trainer.close(ended)
        outcome = await asyncio.wait_for(client.outcome(task_id), 30)
        assert outcome.state == task_pb2.TASK_STATE_SUCCEEDED
        await trainer.until(task_id, pb.SEAT_STATE_CLOSED)
