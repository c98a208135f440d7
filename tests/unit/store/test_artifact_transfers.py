"""The clients' helpers: files go up and come down whole, resumed, checked, or not at all."""

from pathlib import Path

import pytest

from modelyard.artifacts import get_to_file, put_bytes, put_file, stat
from modelyard.errors import ConnectionFailed, YardError
from tests.support.store_yard import Client, sha256, store_yard

DATA = bytes(range(251)) * 20_000


@pytest.mark.asyncio
async def test_put_file_and_get_to_file_carry_a_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    async with store_yard(tmp_path) as yard, Client(yard.address, "agent") as agent:
        artifact = await put_file(agent.channel, source, name="out", account="ada", holder="task:t-1")
        assert (artifact.digest, artifact.name, artifact.reference_count) == (sha256(DATA), "out", 1)
        assert await put_file(agent.channel, source, name="out", account="ada") == artifact
        assert await stat(agent.channel, artifact.digest, account="ada") == artifact
        target = tmp_path / "target"
        target.write_bytes(b"old")
        assert await get_to_file(agent.channel, artifact.digest, target, "ada") == target
        assert target.read_bytes() == DATA
        assert _parts(tmp_path) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("arrived", [DATA[: 3 << 20], DATA, b"", b"wrong" * 1000, DATA + b"more"])
async def test_get_to_file_goes_on_where_it_stopped(tmp_path: Path, arrived: bytes) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        digest = (await put_bytes(ada.channel, DATA, name="x")).digest
        target = tmp_path / "target"
        (tmp_path / f".target.{digest[:16]}.part").write_bytes(arrived)
        await get_to_file(ada.channel, digest, target)
        assert target.read_bytes() == DATA
        assert _parts(tmp_path) == []


@pytest.mark.asyncio
async def test_get_to_file_of_nothing_leaves_nothing(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        with pytest.raises(YardError) as refused:
            await get_to_file(ada.channel, sha256(b"absent"), tmp_path / "target")
        assert refused.value.reason == "ARTIFACT_NOT_FOUND"
        assert _parts(tmp_path) == []
        assert not (tmp_path / "target").exists()


@pytest.mark.asyncio
async def test_two_downloads_to_one_place_do_not_mix(tmp_path: Path) -> None:
    import asyncio

    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        digest = (await put_bytes(ada.channel, DATA, name="x")).digest
        target = tmp_path / "target"
        await asyncio.gather(*(get_to_file(ada.channel, digest, target) for _ in range(3)))
        assert target.read_bytes() == DATA
        assert _parts(tmp_path) == []


@pytest.mark.asyncio
async def test_put_bytes_refused_says_why(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        with pytest.raises(YardError) as refused:
            await put_bytes(ada.channel, DATA, name="x", account="bob")
        assert (refused.value.reason, refused.value.field) == ("ACCOUNT_FORBIDDEN", "account")


@pytest.mark.asyncio
async def test_put_without_a_store_gives_up(unused_port: int) -> None:
    async with Client(f"127.0.0.1:{unused_port}", "ada") as ada:
        with pytest.raises(ConnectionFailed):
            await put_bytes(ada.channel, b"bytes", name="x")


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _parts(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))
