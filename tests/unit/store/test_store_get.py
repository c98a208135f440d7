"""Downloads: from any offset, and never bytes that have rotted."""

from pathlib import Path

import grpc
import pytest

from modelyard.errors import from_rpc_error
from modelyard.v1 import artifact_pb2 as pb
from tests.support.store_yard import Client, StoreYard, sha256, store_yard

DATA = bytes(range(256)) * 20_000


@pytest.mark.asyncio
@pytest.mark.parametrize("offset", [0, 1, 1 << 20, (1 << 20) + 1, len(DATA) - 1, len(DATA)])
async def test_get_from_an_offset_gives_the_rest(tmp_path: Path, offset: int) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        digest = (await ada.put(DATA)).digest
        answers = [a async for a in ada.stub.GetArtifact(pb.GetArtifactRequest(digest=digest, offset=offset))]
        assert b"".join(a.chunk for a in answers) == DATA[offset:]
        assert answers[0].offset == offset
        assert {a.size_bytes for a in answers} == {len(DATA)}
        assert max(len(a.chunk) for a in answers) <= 1 << 20


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("digest", "offset", "reason"),
    [
        (sha256(DATA), len(DATA) + 1, "OFFSET_OUT_OF_RANGE"),
        (sha256(DATA), -1, "OFFSET_OUT_OF_RANGE"),
        (sha256(b"no"), 0, "ARTIFACT_NOT_FOUND"),
        ("", 0, "DIGEST_INVALID"),
        ("../" * 20 + "etc/passwd", 0, "DIGEST_INVALID"),
    ],
)
async def test_get_of_what_is_not_there_is_refused(
    tmp_path: Path, digest: str, offset: int, reason: str
) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        await ada.put(DATA)
        assert await _reason_of_get(ada, digest, offset) == reason


@pytest.mark.asyncio
async def test_get_of_rotten_bytes_fails_and_an_upload_heals_it(tmp_path: Path) -> None:
    async with (
        store_yard(tmp_path) as yard,
        Client(yard.address, "ada") as ada,
        Client(yard.address, "bob") as bob,
    ):
        digest = (await ada.put(DATA)).digest
        await bob.put(DATA)
        _rot(yard, digest)
        assert await _reason_of_get(ada, digest) == "ARTIFACT_CORRUPT"
        assert yard.files() == [f".quarantine/{digest}"]
        assert await _reason_of_get(bob, digest) == "ARTIFACT_CORRUPT"
        assert (await ada.stat(digest)).size_bytes == len(DATA)
        await bob.put(DATA)
        assert await ada.get(digest) == DATA


@pytest.mark.asyncio
async def test_get_of_shortened_or_missing_bytes_is_data_loss(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        digest = (await ada.put(DATA)).digest
        path = yard.blob_path(digest)
        path.unlink()
        path.write_bytes(DATA[:-1])
        assert await _reason_of_get(ada, digest, 5) == "ARTIFACT_CORRUPT"
        await ada.put(DATA)
        yard.blob_path(digest).unlink()
        assert await _reason_of_get(ada, digest) == "ARTIFACT_CORRUPT"
        await ada.put(DATA)
        assert await ada.get(digest) == DATA


@pytest.mark.asyncio
async def test_get_left_in_the_middle_leaves_the_store_well(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        digest = (await ada.put(DATA)).digest
        for _ in range(5):
            call = ada.stub.GetArtifact(pb.GetArtifactRequest(digest=digest))
            async for _answer in call:
                break
            call.cancel()
        assert await ada.get(digest) == DATA


def _rot(yard: StoreYard, digest: str) -> None:
    path = yard.blob_path(digest)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(3_000_000)
        file.write(b"rot")


async def _reason_of_get(client: Client, digest: str, offset: int = 0) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.get(digest, offset)
    return from_rpc_error(refused.value).reason
