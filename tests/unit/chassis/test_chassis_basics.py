"""Small parts: errors and their wire form, pages, clocks, loops, migrations, logs."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import sys
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.channel import connect, incoming
from modelyard.errors import CallTimedOut, ConnectionFailed, InsecureAddress, from_rpc_error
from services.chassis import errors, logs
from services.chassis.clock import SystemClock
from services.chassis.errors import InvalidArgument, NotFound, ServiceError
from services.chassis.process.supervise import Loops
from services.chassis.requests.paging import (
    PageSizeNegative,
    PageTokenInvalid,
    PageTokenMismatch,
    decode_token,
    encode_token,
    page_size,
)
from services.chassis.rpc import status
from services.chassis.storage.migrations import load_migrations, load_queries
from tests.support.fake_clock import FakeClock


class HTTPPortNotFound(NotFound):
    """There is no such port.

    Only the first line is the message.
    """


def rpc_error(error: ServiceError) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata(*status.encode(error, "r1"))
    return grpc.aio.AioRpcError(status.grpc_code(error), grpc.aio.Metadata(), trailing, error.message)


def test_error_takes_reason_from_its_name_and_message_from_its_docstring() -> None:
    error = HTTPPortNotFound()
    assert (error.code, error.reason, str(error)) == (
        "NOT_FOUND",
        "HTTP_PORT_NOT_FOUND",
        "There is no such port.",
    )


def test_error_families_have_the_codes_of_grpc() -> None:
    families = [family for family in ServiceError.__subclasses__() if family.__module__ == errors.__name__]
    assert len(families) == 13
    for family in families:
        assert status.grpc_code(family()).name == family.code == family.reason


@given(
    message=st.text(max_size=3000),
    field=st.text(max_size=400),
    metadata=st.dictionaries(st.text(max_size=80), st.text(max_size=400), max_size=20),
)
def test_error_with_any_text_can_be_encoded_within_the_limit(
    message: str, field: str, metadata: dict[str, str]
) -> None:
    [(key, raw)] = status.encode(NotFound(message, field=field, metadata=metadata), "r1")
    assert key.endswith("-bin")
    assert len(raw) * 4 / 3 + 4 * status.MESSAGE_MOST < 64 * 1024


def test_error_survives_the_way_to_the_client() -> None:
    sent = HTTPPortNotFound("no port 7", field="port", next_step="look", metadata={"port": "7"})
    got = from_rpc_error(rpc_error(sent))
    assert (got.code, got.reason, got.message) == ("NOT_FOUND", "HTTP_PORT_NOT_FOUND", "no port 7")
    assert (got.field, got.next_step) == ("port", "look")
    assert got.metadata == {"port": "7", "request_id": "r1"}


@pytest.mark.parametrize(
    ("code", "kind"),
    [(grpc.StatusCode.UNAVAILABLE, ConnectionFailed), (grpc.StatusCode.DEADLINE_EXCEEDED, CallTimedOut)],
)
def test_error_that_grpc_made_itself_is_told_apart(code: grpc.StatusCode, kind: type[Exception]) -> None:
    empty = grpc.aio.Metadata()
    assert isinstance(from_rpc_error(grpc.aio.AioRpcError(code, empty, empty, "x")), kind)


def test_error_details_that_are_rubbish_are_ignored() -> None:
    trailing = grpc.aio.Metadata((status.DETAILS_KEY, b"\xff\xff\xff"))
    error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), trailing, "x")
    assert from_rpc_error(error).reason == "GRPC_NOT_FOUND"


def test_message_that_is_too_large_is_told_in_megabytes() -> None:
    empty = grpc.aio.Metadata()
    text = "CLIENT: Sent message larger than max (6028950 vs. 4194304)"
    found = from_rpc_error(grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, empty, empty, text))
    assert (found.code, found.reason) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")
    assert found.message == "the message has 6.0 MB, and 4.2 MB are the most" and found.next_step


def test_page_size_has_default_and_limit_and_refuses_negatives() -> None:
    assert [page_size(0), page_size(7), page_size(5000), page_size(0, default=3)] == [50, 7, 1000, 3]
    with pytest.raises(PageSizeNegative) as caught:
        page_size(-1)
    assert caught.value.field == "page_size"


@given(st.text(min_size=1), st.binary())
def test_page_token_gives_back_its_cursor(cursor: str, filter_key: bytes) -> None:
    assert decode_token(encode_token(cursor, filter_key), filter_key) == cursor


def test_page_token_of_another_filter_is_refused() -> None:
    assert decode_token("", b"a") == ""
    with pytest.raises(PageTokenMismatch):
        decode_token(encode_token("7", b"a"), b"b")


@given(st.text())
def test_page_token_made_up_is_refused_cleanly(token: str) -> None:
    try:
        decode_token(token, b"a")
    except InvalidArgument as error:
        assert error.field == "page_token"
        assert isinstance(error, (PageTokenInvalid, PageTokenMismatch))
    else:
        assert token == ""


@pytest.mark.asyncio
async def test_fake_clock_wakes_sleepers_in_order_at_their_times() -> None:
    clock, woken = FakeClock(now_ms=1000), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic_ms()))
        await clock.sleep(0.5)
        woken.append((0.5, clock.monotonic_ms()))

    tasks = [asyncio.ensure_future(sleeper(seconds)) for seconds in (2, 1)]
    await clock.advance(1000)
    assert woken == [(1, 1000)]
    await clock.advance(1500)
    assert woken == [(1, 1000), (0.5, 1500), (2, 2000), (0.5, 2500)]
    assert clock.now_ms() == 3500
    clock.jump(-5000)
    assert (clock.now_ms(), clock.monotonic_ms()) == (-1500, 2500)
    await asyncio.gather(*tasks)


@pytest.mark.asyncio
async def test_system_clock_moves() -> None:
    clock = SystemClock()
    before = clock.monotonic_ms()
    await clock.sleep(0)
    assert clock.monotonic_ms() >= before
    assert clock.now_ms() > 1_600_000_000_000


@pytest.mark.asyncio
async def test_loops_report_the_first_crash_and_close_the_rest() -> None:
    loops, ended = Loops(), []

    async def steady() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("steady")

    async def doomed() -> None:
        raise LookupError("fell")

    loops.start("steady", steady())
    loops.start("finished", asyncio.sleep(0))
    loops.start("doomed", doomed())
    assert isinstance(await loops.wait_crashed(), LookupError)
    await loops.close()
    await loops.close()
    assert ended == ["steady"]


@pytest.mark.asyncio
async def test_loop_started_by_a_call_is_not_bound_by_its_deadline() -> None:
    loops, seen = Loops(), []

    async def look() -> None:
        seen.append(incoming.get())

    incoming.set(("r1", 0.0))
    await loops.start("look", look())
    assert seen == [None]


@pytest.mark.asyncio
@pytest.mark.parametrize("address", ["10.0.0.1:7070", "yard.example:7070", "[2001:db8::1]:7070"])
async def test_channel_never_shows_a_token_to_the_network(address: str) -> None:
    with pytest.raises(InsecureAddress, match="without TLS") as caught:
        connect(address, token="yard_user_x")
    assert "ca_file" in caught.value.next_step


@pytest.mark.asyncio
@pytest.mark.parametrize("address", ["127.0.0.1:7070", "localhost:7070", "[::1]:7070", "unix:/tmp/x.sock"])
async def test_channel_to_this_machine_may_be_plaintext(address: str) -> None:
    await connect(address, token="yard_user_x").close()


def test_migrations_and_queries_are_read_from_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "migrated"
    (package / "migrations").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "migrations" / "0001_first.sql").write_text("CREATE TABLE a (b);")
    (package / "migrations" / "0002_second.sql").write_text("CREATE TABLE c (d);")
    (package / "queries.sql").write_text(
        "-- head\n-- name: one\nSELECT 1;\n\n-- name: two\n-- why\nSELECT 2;\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [name for name, _ in load_migrations("migrated")] == ["0001_first", "0002_second"]
    assert load_queries("migrated") == {"one": "SELECT 1", "two": "-- why\nSELECT 2"}
    (package / "migrations" / "0004_gap.sql").write_text("")
    with pytest.raises(ValueError, match="expected 0003"):
        load_migrations("migrated")
    sys.modules.pop("migrated")


def test_log_lines_hide_secrets_wherever_they_stand() -> None:
    secret = "yard_admin_" + "k" * 43
    event = {"a": f"x {secret} y", "b": {"c": [secret]}, "d": Path(secret), "e": 7, "f": secret.encode()}
    shown = json.dumps(logs.redact(None, "", dict(event)), default=str)
    assert secret not in shown
    assert shown.count("yard_***") == 4
    assert logs.redact(None, "", {"task": "yard_demo"}) == {"task": "yard_demo"}


def test_log_of_a_library_goes_through_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, write_through=True))
    root = logging.getLogger()
    before, level = root.handlers, root.level
    try:
        logs.setup("info", "json")
        logging.getLogger("library").warning("token %s", "yard_user_" + "z" * 43)
        logging.getLogger("library").info("chatter")
    finally:
        root.handlers, root.level = before, level
        logs.structlog.reset_defaults()
    [line] = written.getvalue().splitlines()
    assert json.loads(line)["message"] == "token yard_***"
    assert json.loads(line)["level"] == "warning"


@pytest.mark.asyncio
async def test_loop_that_is_cancelled_before_its_first_turn_leaves_nothing_behind() -> None:
    """Warnings are errors here: a coroutine that nobody awaits would be one."""
    loops = Loops()

    async def never() -> None:
        raise AssertionError("it must not begin")

    loops.start("never", never())
    await loops.close()
    gc.collect()
    assert loops.crash is None
