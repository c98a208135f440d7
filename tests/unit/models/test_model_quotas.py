"""What an account may have in the catalogue and under way: refused before anything changes (S2.5, S0.9)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from modelyard.oip.v2 import inference_pb2 as pb
from services.models.calls.flights import Flights
from services.models.catalogue import effects as e
from services.models.catalogue import events as ev
from services.models.quotas import CallQuotaExceeded, Quota, QuotaInvalid, changed
from tests.support.catalogue_world import DIGESTS, World
from tests.support.inference import floats, raw, refusal
from tests.support.scripted_frames import CallsWorld, echo_config


def quota(world: World, account: str = "ada", **given: int) -> None:
    assert world.ask(ev.QuotaSet, account=account, given=given).error is None


def refused(answer: e.Answer) -> dict[str, Any]:
    assert answer.error is not None and answer.error.reason == "MODEL_QUOTA_EXCEEDED"
    assert answer.error.code == "RESOURCE_EXHAUSTED"
    return dict(answer.error.metadata)


def test_version_beyond_the_quota_is_refused_and_leaves_nothing() -> None:  # S2.5
    world = World()
    quota(world, max_versions=2)
    world.create("iris", DIGESTS[0])
    world.create("iris", DIGESTS[1])
    before = (dict(world.models), dict(world.versions), len(world.wishes), len(world.begun))
    answer = world.create("wine", DIGESTS[2])
    assert refused(answer) == {"quota": "max_versions", "used": "2", "limit": "2", "wanted": "1"}
    assert answer.error is not None and answer.error.field == "model"
    assert "yard quotas set ada --max-versions" in answer.error.next_step
    assert before == (world.models, world.versions, len(world.wishes), len(world.begun))
    assert "wine" not in world.state.models
    # What is handed in once more is no version more; others have quotas of their own.
    assert world.create("iris", DIGESTS[1]).was_there
    assert world.create("wine", DIGESTS[2], account="bob").error is None


def test_components_count_in_full_and_deleted_ones_no_more() -> None:  # S2.5
    world = World()
    quota(world, max_component_bytes=25)
    world.create("iris", DIGESTS[0])
    world.create("wine", DIGESTS[0])
    told = refused(world.create("iris", DIGESTS[2]))
    assert told == {"quota": "max_component_bytes", "used": "20", "limit": "25", "wanted": "10"}
    assert world.ask(ev.VersionDeleted, model="wine", version=1).error is None
    assert world.create("iris", DIGESTS[2]).error is None


def test_smaller_quota_takes_nothing_away_and_none_lets_everything_in() -> None:  # S2.5
    world = World()
    for digest in DIGESTS[:3]:
        world.create("iris", digest)
    quota(world, max_versions=1)
    assert len(world.state.versions["iris"]) == 3
    refused(world.create("iris", DIGESTS[3]))
    quota(world, max_calls=5)
    refused(world.create("iris", DIGESTS[3]))
    quota(world, max_versions=0)
    assert world.create("iris", DIGESTS[3]).error is None
    assert world.state.quotas["ada"] == Quota(max_calls=5)


@pytest.mark.parametrize("value", [-1, 1 << 63])
def test_quota_that_is_no_number_from_zero_is_refused_by_its_name(value: int) -> None:
    with pytest.raises(QuotaInvalid) as caught:
        changed(Quota(), {"max_calls": value})
    assert caught.value.field == "max_calls"


def test_refused_call_counts_nothing() -> None:  # S2.5
    flights = Flights()
    flights.quotas = {"ada": Quota(max_calls=1)}
    flights.enter("ada")
    with pytest.raises(CallQuotaExceeded) as caught:
        flights.enter("ada")
    assert caught.value.metadata == {"quota": "max_calls", "used": "1", "limit": "1", "wanted": "1"}
    flights.enter("bob")
    flights.leave("ada")
    flights.enter("ada")
    assert (flights.count("ada"), flights.count("bob"), flights.count("eve")) == (1, 1, 0)


@pytest.mark.asyncio
async def test_calls_are_counted_on_both_ways_and_given_back_on_every_way_out(
    world: CallsWorld, stub: Any
) -> None:  # S2.5
    frame = await world.frame(world.versions.add(echo_config(is_idempotent=False)))
    flights = world.calls.flights
    flights.quotas = {"alice": Quota(max_calls=1)}

    async def held(call: Any) -> Any:
        """The call, once it is the one under way; one more is refused on both ways."""
        await world.until(lambda: flights.count("alice") == 1)
        assert (await refusal(stub.ModelInfer(raw(9.0), timeout=20))).reason == "CALL_QUOTA_EXCEEDED"
        [told] = [one async for one in stub.ModelStreamInfer(aside(), timeout=20)]
        assert told.infer_response.parameters["reason"].string_param == "CALL_QUOTA_EXCEEDED"
        assert flights.count("alice") == 1
        return call

    async def aside() -> AsyncIterator[Any]:
        yield raw(9.0)

    async def free() -> None:
        await world.until(lambda: flights.count("alice") == 0)

    # Cancelled by its caller, by one call and by one stream.
    frame.conduct = frame.silence
    (await held(stub.ModelInfer(raw(1.0), timeout=20))).cancel()
    await free()
    stream = await held(stub.ModelStreamInfer(aside(), timeout=20))
    stream.cancel()
    await free()
    # Its time is over: within the request, so that this service ends it.
    late = raw(2.0)
    late.parameters["timeout"].int64_param = 50_000
    assert (await refusal(stub.ModelInfer(late, timeout=20))).code == "DEADLINE_EXCEEDED"
    await free()
    # What is wrong with the request.
    assert (await refusal(stub.ModelInfer(raw(1.0, model_name="nobody"), timeout=20))).code == "NOT_FOUND"
    assert (
        await refusal(stub.ModelInfer(pb.ModelInferRequest(model_name="echo"), timeout=20))
    ).code == "INVALID_ARGUMENT"
    await free()


@pytest.mark.asyncio
async def test_call_whose_frame_ends_is_given_back(world: CallsWorld, stub: Any) -> None:  # S2.5
    frame = await world.frame(world.versions.add(echo_config(is_idempotent=False)))
    frame.conduct = frame.silence
    world.calls.flights.quotas = {"alice": Quota(max_calls=1)}
    call = stub.ModelInfer(raw(3.0), timeout=20)
    await world.until(lambda: len(frame.calls) == 1)
    await frame.die()
    assert (await refusal(call)).code == "UNAVAILABLE"
    await world.until(lambda: world.calls.flights.count("alice") == 0)


@pytest.mark.asyncio
async def test_answered_calls_one_after_the_other_never_meet_the_quota(
    world: CallsWorld, stub: Any
) -> None:  # S2.5
    await world.frame(world.versions.add(echo_config()))
    world.calls.flights.quotas = {"alice": Quota(max_calls=1)}
    for number in range(5):
        assert floats(await stub.ModelInfer(raw(float(number)), timeout=20)) == (float(number),)
    await world.until(lambda: world.calls.flights.count("alice") == 0)
