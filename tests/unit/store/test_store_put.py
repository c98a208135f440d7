"""Uploads: what they must say, what is refused, and that nothing is left of what was refused."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from modelyard.errors import from_rpc_error
from modelyard.v1 import artifact_pb2 as pb
from services.store.model import Limits
from tests.support.store_yard import Client, sha256, store_yard
from tests.support.wait import wait_until

DATA = bytes(range(256)) * 20_000


@pytest.mark.asyncio
async def test_put_then_get_gives_the_same_bytes(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        artifact = await ada.put(DATA, name="weights", media_type="application/octet-stream")
        assert (artifact.digest, artifact.size_bytes, artifact.account) == (sha256(DATA), len(DATA), "ada")
        assert artifact.create_time.ToMilliseconds() == yard.clock.now_ms()
        assert await ada.get(artifact.digest) == DATA
        assert await ada.stat(artifact.digest) == artifact
        assert yard.files() == [f"{artifact.digest[:2]}/{artifact.digest}"]
        assert yard.blob_path(artifact.digest).stat().st_mode & 0o777 == 0o400


@pytest.mark.asyncio
async def test_put_empty_and_tiny_chunks_are_kept(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        empty = await ada.put(b"")
        assert await ada.get(empty.digest) == b""
        small = await ada.put(DATA[:70_001], chunk_bytes=7)
        assert await ada.get(small.digest) == DATA[:70_001]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("header", "reason", "field"),
    [
        ({"digest": sha256(b"other")}, "DIGEST_MISMATCH", "header.digest"),
        ({"size_bytes": len(DATA) + 1}, "SIZE_MISMATCH", "header.size_bytes"),
        ({"size_bytes": 5}, "SIZE_MISMATCH", "header.size_bytes"),
        ({"size_bytes": -1}, "SIZE_INVALID", "header.size_bytes"),
        ({"digest": "", "size_bytes": 0}, "UPLOAD_UNSTATED", "header.digest"),
        ({"digest": "../../etc/passwd"}, "DIGEST_INVALID", "header.digest"),
        ({"digest": sha256(DATA).upper()}, "DIGEST_INVALID", "header.digest"),
        ({"name": "a\nb"}, "NAME_INVALID", "header.name"),
        ({"name": "a" * 256}, "NAME_INVALID", "header.name"),
        ({"media_type": "\0"}, "NAME_INVALID", "header.media_type"),
        ({"holder": "user: x"}, "HOLDER_INVALID", "header.holder"),
        ({"holder": "task:t-1"}, "HOLDER_FORBIDDEN", "holder"),
        ({"account": "bob"}, "ACCOUNT_FORBIDDEN", "account"),
    ],
)
async def test_put_refused_leaves_nothing(
    tmp_path: Path, header: dict[str, object], reason: str, field: str
) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ada.put(DATA, **header)
        error = from_rpc_error(refused.value)
        assert (error.reason, error.field) == (reason, field)
        assert yard.files() == []
        assert (await yard.store.totals()).blobs == 0
        assert (await ada.put(DATA)).size_bytes == len(DATA)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([], "UPLOAD_MALFORMED"),
        ([pb.PutArtifactRequest()], "UPLOAD_MALFORMED"),
        ([pb.PutArtifactRequest(chunk=b"x")], "UPLOAD_MALFORMED"),
        ([pb.PutArtifactRequest(header=pb.PutArtifactHeader(size_bytes=9))] * 2, "UPLOAD_MALFORMED"),
        (
            [
                pb.PutArtifactRequest(header=pb.PutArtifactHeader(size_bytes=9)),
                pb.PutArtifactRequest(chunk=bytes((1 << 20) + 1)),
            ],
            "CHUNK_TOO_LARGE",
        ),
    ],
)
async def test_put_out_of_form_is_refused(
    tmp_path: Path, parts: list[pb.PutArtifactRequest], reason: str
) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ada.stub.PutArtifact(iter(parts))
        assert from_rpc_error(refused.value).reason == reason
        assert yard.files() == []


@pytest.mark.asyncio
async def test_put_with_only_size_or_only_digest_is_kept(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        assert (await ada.put(DATA, digest="")).digest == sha256(DATA)
        assert (await ada.put(DATA[1:], size_bytes=0)).size_bytes == len(DATA) - 1


@pytest.mark.asyncio
async def test_put_cancelled_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        sent = asyncio.Event()

        async def parts() -> AsyncIterator[pb.PutArtifactRequest]:
            yield pb.PutArtifactRequest(header=pb.PutArtifactHeader(size_bytes=4 << 20))
            yield pb.PutArtifactRequest(chunk=bytes(1 << 20))
            sent.set()
            await asyncio.Event().wait()

        call = asyncio.ensure_future(ada.stub.PutArtifact(parts()))
        await sent.wait()
        await wait_until(lambda: len(yard.files()) == 1, "the upload has begun")
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        await wait_until(lambda: yard.files() == [], "nothing is left", state=yard.files)


@pytest.mark.asyncio
async def test_put_again_by_the_owner_is_answered_after_the_header(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        first = await ada.put(DATA, name="one")
        header = pb.PutArtifactHeader(digest=sha256(DATA), size_bytes=len(DATA), name="two", holder="user:x")
        again = await ada.put_parts(header, [])
        assert (again.name, again.reference_count) == ("two", 1)
        assert again.create_time == first.create_time
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ada.put_parts(pb.PutArtifactHeader(digest=sha256(DATA), size_bytes=3), [])
        assert from_rpc_error(refused.value).reason == "SIZE_MISMATCH"


@pytest.mark.asyncio
async def test_knowing_a_digest_gives_nothing_to_another_account(tmp_path: Path) -> None:
    async with (
        store_yard(tmp_path) as yard,
        Client(yard.address, "ada") as ada,
        Client(yard.address, "bob") as bob,
    ):
        digest = (await ada.put(DATA)).digest
        before = yard.blob_path(digest).stat()
        for attempt in (
            bob.get(digest),
            bob.stat(digest),
            bob.delete(digest),
            bob.refer("user:x", digest),
            bob.get(digest, account="ada"),
            bob.put_parts(pb.PutArtifactHeader(digest=digest, size_bytes=len(DATA)), []),
            bob.put_parts(pb.PutArtifactHeader(digest=digest), [DATA[:-1]] if len(DATA) < 1 << 20 else []),
        ):
            with pytest.raises(grpc.aio.AioRpcError):
                await attempt
        await bob.put(DATA)
        assert await bob.get(digest) == DATA
        after = yard.blob_path(digest).stat()
        assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
        assert (await yard.store.totals()).size_bytes == len(DATA)


@pytest.mark.asyncio
async def test_put_of_the_same_bytes_at_once_is_kept_once(tmp_path: Path) -> None:
    async with (
        store_yard(tmp_path) as yard,
        Client(yard.address, "ada") as ada,
        Client(yard.address, "bob") as bob,
    ):
        await asyncio.gather(*(who.put(DATA, digest=d) for who in (ada, bob) for d in ("", sha256(DATA))))
        assert yard.files() == [f"{sha256(DATA)[:2]}/{sha256(DATA)}"]
        assert await ada.get(sha256(DATA)) == await bob.get(sha256(DATA)) == DATA


@pytest.mark.asyncio
async def test_put_over_quota_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    limits = Limits(quota_bytes=len(DATA) + 10)
    async with (
        store_yard(tmp_path, limits=limits) as yard,
        Client(yard.address, "ada") as ada,
        Client(yard.address, "bob") as bob,
    ):
        first = await ada.put(DATA)
        files = yard.files()
        for header in ({}, {"size_bytes": 0}):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ada.put(DATA[::-1], **header)
            error = from_rpc_error(refused.value)
            assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
            assert error.metadata["used_bytes"] == str(len(DATA))
            assert yard.files() == files
        assert (await ada.put(DATA)).digest == first.digest
        await bob.put(DATA)
        await ada.delete(first.digest)
        await ada.put(DATA[::-1])


@pytest.mark.asyncio
async def test_put_below_the_free_space_floor_is_refused(tmp_path: Path) -> None:
    limits = Limits(free_space_floor_bytes=1 << 60)
    async with store_yard(tmp_path, limits=limits) as yard, Client(yard.address, "ada") as ada:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ada.put(DATA)
        assert from_rpc_error(refused.value).reason == "FREE_SPACE_LOW"
        assert yard.files() == []


@pytest.mark.asyncio
async def test_put_that_falls_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.store.servicer.artifacts.STALL_S", 0.05)
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        silent = asyncio.Event()

        async def parts() -> AsyncIterator[pb.PutArtifactRequest]:
            yield pb.PutArtifactRequest(header=pb.PutArtifactHeader(size_bytes=4 << 20))
            yield pb.PutArtifactRequest(chunk=bytes(1 << 20))
            await silent.wait()

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ada.stub.PutArtifact(parts())
        silent.set()
        assert from_rpc_error(refused.value).reason == "UPLOAD_STALLED"
        assert yard.files() == []
