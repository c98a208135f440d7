"""References, deletion and collection: what is referred to stays, what nobody needs goes."""

import random
import uuid
from pathlib import Path

import grpc
import pytest

from modelyard.errors import from_rpc_error
from services.chassis.errors import ServiceError
from services.store.model import Wish
from tests.support.store_yard import GRACE_S, Client, StoreYard, sha256, store_yard

GRACE_MS = round(GRACE_S * 1000)


@pytest.mark.asyncio
async def test_collect_takes_what_is_idle_for_longer_than_the_grace(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        digest = (await ada.put(b"bytes")).digest
        yard.clock.turn(GRACE_MS - 1)
        assert await yard.collector.collect() == 0
        yard.clock.turn(1)
        assert await yard.collector.collect() == 1
        assert yard.files() == []
        assert await _reason(ada.stat(digest)) == "ARTIFACT_NOT_FOUND"


@pytest.mark.asyncio
async def test_collect_never_takes_what_is_referred_to(tmp_path: Path) -> None:
    async with (
        store_yard(tmp_path) as yard,
        Client(yard.address, "ada") as ada,
        Client(yard.address, "agent") as agent,
    ):
        held = (await agent.put(b"held", account="ada", holder="task:t-1")).digest
        kept = (await ada.put(b"kept")).digest
        await ada.refer("user:keep", kept)
        yard.clock.turn(10 * GRACE_MS)
        assert await yard.collector.collect() == 0
        await agent.release("task:t-1")
        yard.clock.turn(GRACE_MS - 1)
        assert await yard.collector.collect() == 0
        yard.clock.turn(1)
        assert await yard.collector.collect() == 1
        assert yard.files() == [f"{kept[:2]}/{kept}"]
        assert await _reason(ada.stat(held)) == "ARTIFACT_NOT_FOUND"


@pytest.mark.asyncio
async def test_put_again_starts_the_grace_anew(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        digest = (await ada.put(b"bytes")).digest
        yard.clock.turn(GRACE_MS - 1)
        await ada.put(b"bytes")
        yard.clock.turn(GRACE_MS - 1)
        assert await yard.collector.collect() == 0
        await ada.refer("user:x", digest)


@pytest.mark.asyncio
async def test_collect_keeps_bytes_that_another_account_has(tmp_path: Path) -> None:
    async with (
        store_yard(tmp_path) as yard,
        Client(yard.address, "ada") as ada,
        Client(yard.address, "bob") as bob,
    ):
        digest = (await ada.put(b"bytes")).digest
        await bob.put(b"bytes", holder="user:keep")
        await ada.delete(digest)
        yard.clock.turn(10 * GRACE_MS)
        await yard.collector.collect()
        assert await bob.get(digest) == b"bytes"
        assert await _reason(ada.get(digest)) == "ARTIFACT_NOT_FOUND"


@pytest.mark.asyncio
async def test_delete_while_referred_to_is_refused_and_names_the_holders(tmp_path: Path) -> None:
    async with (
        store_yard(tmp_path) as yard,
        Client(yard.address, "ada") as ada,
        Client(yard.address, "service") as service,
    ):
        digest = (await ada.put(b"bytes")).digest
        for number in range(12):
            await service.refer(f"task:t-{number:02}", digest, account="ada")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ada.delete(digest)
        error = from_rpc_error(refused.value)
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "ARTIFACT_IN_USE")
        assert error.metadata["holders"].split(",") == [f"task:t-{n:02}" for n in range(10)]
        assert error.metadata["reference_count"] == "12"
        assert await ada.get(digest) == b"bytes"


@pytest.mark.asyncio
async def test_delete_again_is_answered_by_its_request_id(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        one, two = (await ada.put(b"one")).digest, (await ada.put(b"two")).digest
        request_id = str(uuid.uuid4())
        await ada.delete(one, request_id)
        await ada.delete(one, request_id)
        assert yard.files() == [f"{two[:2]}/{two}"]
        assert await _reason(ada.delete(two, request_id)) == "REQUEST_ID_REUSED"
        assert await _reason(ada.delete(one, str(uuid.uuid4()))) == "ARTIFACT_NOT_FOUND"
        assert await _reason(ada.delete(one)) == "ARTIFACT_NOT_FOUND"
        assert await _reason(ada.delete(one, "no uuid")) == "REQUEST_ID_INVALID"
        yard.clock.turn(25 * 3_600_000)
        await yard.collector.collect()
        assert await _reason(ada.delete(one, request_id)) == "ARTIFACT_NOT_FOUND"


@pytest.mark.asyncio
async def test_add_references_is_all_or_none(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        digest = (await ada.put(b"bytes")).digest
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ada.refer("user:x", digest, sha256(b"absent"))
        error = from_rpc_error(refused.value)
        assert (error.reason, error.metadata["digests"]) == ("ARTIFACT_NOT_FOUND", sha256(b"absent"))
        assert (await ada.stat(digest)).reference_count == 0
        await ada.refer("user:x", digest, digest)
        await ada.refer("user:x", digest)
        assert (await ada.stat(digest)).reference_count == 1
        assert await _reason(ada.refer("user:x")) == "DIGESTS_TOO_MANY"
        assert await _reason(ada.refer("user:x", *[digest] * 1001)) == "DIGESTS_TOO_MANY"
        assert await _reason(ada.refer("", digest)) == "HOLDER_INVALID"


@pytest.mark.asyncio
async def test_orphans_of_a_crash_are_removed_and_nothing_else(tmp_path: Path) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as ada:
        digest = (await ada.put(b"bytes")).digest
        orphan = yard.blob_path(sha256(b"orphan"))
        orphan.parent.mkdir(exist_ok=True)
        orphan.write_bytes(b"orphan")
        foreign = yard.root / "README"
        foreign.write_text("not ours")
        assert await yard.collector.remove_orphans() == 1
        assert sorted(yard.files()) == sorted(["README", f"{digest[:2]}/{digest}"])


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(8))
async def test_any_history_keeps_rows_and_references_in_step(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    contents = [bytes([n]) * (n + 1) for n in range(5)]
    held: dict[str, set[tuple[str, str]]] = {}
    async with store_yard(tmp_path) as yard:
        for _ in range(150):
            account, content = chance.choice(["ada", "bob"]), chance.choice(contents)
            holder = f"task:{chance.randrange(4)}"
            await _step(yard, chance.randrange(6), account, content, holder, held)
            await _check_invariants(yard, held, contents)


async def _step(
    yard: StoreYard,
    action: int,
    account: str,
    content: bytes,
    holder: str,
    held: dict[str, set[tuple[str, str]]],
) -> None:
    digest = sha256(content)
    if action <= 1:
        wish = Wish(account, digest=digest, holder=holder if action else "")
        await yard.engine.put(wish, _chunks(content))
        if action:
            held.setdefault(holder, set()).add((account, digest))
    elif action == 2:
        if await _accepted(yard.engine.add_references(account, holder, [digest])):
            held.setdefault(holder, set()).add((account, digest))
    elif action == 3:
        await yard.engine.remove_references(holder, None)
        held.pop(holder, None)
    elif action == 4:
        in_use = any((account, digest) in kept for kept in held.values())
        assert not (await _accepted(yard.engine.delete(account, digest, "")) and in_use)
    else:
        yard.clock.turn(GRACE_MS)
        await yard.collector.collect()


async def _check_invariants(
    yard: StoreYard, held: dict[str, set[tuple[str, str]]], contents: list[bytes]
) -> None:
    for account, digest in {pair for kept in held.values() for pair in kept}:
        found = await yard.store.find(account, digest)
        assert found is not None
        assert found.reference_count == sum((account, digest) in kept for kept in held.values())
    rows = [d for d in map(sha256, contents) if await yard.store.blob(d) is not None]
    assert yard.files() == sorted(f"{d[:2]}/{d}" for d in rows)


async def _chunks(content: bytes):  # type: ignore[no-untyped-def]
    yield content


async def _accepted(call: object) -> bool:
    try:
        await call  # type: ignore[misc]
    except ServiceError:
        return False
    return True


async def _reason(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call  # type: ignore[misc]
    return from_rpc_error(refused.value).reason
