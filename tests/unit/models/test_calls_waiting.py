"""Callers who wait for a frame, and what one of them does to the others (S2.6)."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from services.chassis.errors import DeadlineExceeded, ServiceError
from services.chassis.security import USER, Principal
from services.models.calls import messages
from services.models.calls.errors import CallTooLarge, ParameterWrong
from services.models.seams import ReadyFrame, Route
from tests.support.calls_chaos import CannotBeLoaded
from tests.support.inference import raw
from tests.support.scripted_frames import CallsWorld, echo_config

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


async def call(world: CallsWorld, left_s: float | None = 30, request: Any = None) -> Any:
    asked = messages.decode((request or raw(1.0)).SerializeToString())
    return await world.calls.infer(Principal(USER, account="alice"), asked, left_s)


async def test_caller_with_time_outlives_one_without(world: CallsWorld) -> None:
    served = world.versions.add(echo_config())
    short = asyncio.create_task(call(world, 0.02))
    await world.until(lambda: bool(world.source.wanted_count))
    patient = asyncio.create_task(call(world))
    with pytest.raises(DeadlineExceeded):
        await short
    # The asking for the short one has failed by now: it asks again for whoever is left.
    await world.until(lambda: world.source.wanted_count > 1)
    await world.frame(served)
    await patient


async def test_caller_who_repeats_at_once_is_waited_for(world: CallsWorld) -> None:
    served = world.versions.add(echo_config())

    async def start(route: Route) -> ReadyFrame:
        if world.source.wanted_count == 1:
            raise CannotBeLoaded
        await world.frame(served)
        return next(iter(world.source.frames.values()))

    world.source.start = start
    try:
        await call(world)
    except CannotBeLoaded:
        await call(world)
    assert world.source.wanted_count == 2


async def test_frame_whose_connection_was_cut_is_idle_again(world: CallsWorld) -> None:
    frame = await world.frame(world.versions.add(echo_config(is_idempotent=False)), is_silent=True)
    lost = asyncio.create_task(call(world))
    await world.until(lambda: bool(frame.calls))
    frame.cut()
    with pytest.raises(ServiceError):
        await lost
    await world.until(lambda: world.source.active[1] == 0)
    frame.conduct = frame.echo
    await call(world)


async def test_what_no_frame_takes_harms_nobody_else(world: CallsWorld) -> None:  # S2.6
    frame = await world.frame(world.versions.add(echo_config(max_batch=8)), is_silent=True)
    held = asyncio.create_task(call(world))
    await world.until(lambda: bool(frame.calls))
    huge, small = raw(1.0), raw(1.0)
    for request in (huge, small):
        request.parameters["note"].string_param = "x" * (17 << 20)
    small.parameters["note"].string_param = "x"
    calls = [asyncio.create_task(call(world, request=one)) for one in (huge, small)]
    await asyncio.sleep(0)
    frame.conduct = frame.echo
    frame.answer(frame.calls[0], [b"\0\0\0\0"])
    with pytest.raises(CallTooLarge):
        await calls[0]
    await asyncio.gather(held, calls[1])
    assert len(world.calls._doors) == 1 and world.calls.active_count == 0


@pytest.mark.parametrize("value", (math.nan, math.inf, -math.inf))
@pytest.mark.parametrize("name", ("temperature", "priority", "timeout"))
async def test_number_that_is_none_is_refused(world: CallsWorld, name: str, value: float) -> None:
    await world.frame(world.versions.add(echo_config()))
    request = raw(1.0)
    request.parameters[name].double_param = value
    with pytest.raises(ParameterWrong, match=name):
        await call(world, request=request)
    await call(world)
