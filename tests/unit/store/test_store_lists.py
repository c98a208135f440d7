"""Lists: newest first, paged without gap or repeat, one account only."""

from pathlib import Path

import grpc
import pytest

from modelyard.errors import from_rpc_error
from modelyard.v1 import artifact_pb2 as pb
from tests.support.store_yard import Client, store_yard


@pytest.mark.asyncio
async def test_list_pages_newest_first_without_gap_or_repeat(tmp_path: Path) -> None:
    async with (
        store_yard(tmp_path) as yard,
        Client(yard.address, "ada") as ada,
        Client(yard.address, "bob") as bob,
    ):
        digests = []
        for number in range(7):
            digests.append((await ada.put(bytes([number]), name=f"n{number % 2}")).digest)
            yard.clock.turn(number % 3)
        await bob.put(b"foreign")
        found, token = [], ""
        while True:
            page = await ada.stub.ListArtifacts(pb.ListArtifactsRequest(page_size=2, page_token=token))
            found += list(page.artifacts)
            token = page.next_page_token
            if not token:
                break
        assert sorted(a.digest for a in found) == sorted(digests)
        times = [a.create_time.ToMilliseconds() for a in found]
        assert times == sorted(times, reverse=True)


@pytest.mark.asyncio
async def test_list_by_name_and_by_an_administrator(tmp_path: Path) -> None:
    async with (
        store_yard(tmp_path) as yard,
        Client(yard.address, "ada") as ada,
        Client(yard.address, "admin") as admin,
    ):
        for number in range(3):
            await ada.put(bytes([number]), name=f"n{number}")
        page = await ada.stub.ListArtifacts(pb.ListArtifactsRequest(name="n1"))
        assert [a.name for a in page.artifacts] == ["n1"]
        of_ada = await admin.stub.ListArtifacts(pb.ListArtifactsRequest(account="ada"))
        assert len(of_ada.artifacts) == 3
        assert not (await admin.stub.ListArtifacts(pb.ListArtifactsRequest())).artifacts


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.ListArtifactsRequest(page_size=-1), "PAGE_SIZE_NEGATIVE"),
        (pb.ListArtifactsRequest(page_token="x"), "PAGE_TOKEN_INVALID"),
        (pb.ListArtifactsRequest(account="bob"), "ACCOUNT_FORBIDDEN"),
        (pb.ListArtifactsRequest(name="\n"), "NAME_INVALID"),
    ],
)
async def test_list_with_bad_input_is_refused(
    tmp_path: Path, request_: pb.ListArtifactsRequest, reason: str
) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ada.stub.ListArtifacts(request_)
        assert from_rpc_error(refused.value).reason == reason


@pytest.mark.asyncio
async def test_list_with_the_token_of_another_filter_is_refused(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        for number in range(3):
            await ada.put(bytes([number]), name="n")
        token = (await ada.stub.ListArtifacts(pb.ListArtifactsRequest(page_size=1))).next_page_token
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ada.stub.ListArtifacts(pb.ListArtifactsRequest(page_token=token, name="n"))
        assert from_rpc_error(refused.value).reason == "PAGE_TOKEN_MISMATCH"
