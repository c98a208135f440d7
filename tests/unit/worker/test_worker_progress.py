"""What programs say of their progress: what is taken of it, and what a request has to be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st

from modelyard.v1 import job_pb2
from modelyard.worker.seats import mailbox
from modelyard.worker.seats.mailbox import Refused, parsed
from modelyard.worker.seats.progress import of_trainer_status, progress_of

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["step", "total", "epoch", "ratio", "remaining", "message", "loss"]) | st.text()


def said(values: dict[str, Any]) -> dict[str, Any]:
    progress = progress_of(values)
    assert progress is not None
    progress.pop("update_time")
    return progress


@given(st.dictionaries(NAMES, ANY, max_size=8))
def test_whatever_is_said_becomes_a_message_or_nothing(values: dict[str, Any]) -> None:
    progress = progress_of(values)
    if progress is not None:
        message = ParseDict(progress, job_pb2.JobProgress())
        assert all(math.isfinite(value) for value in message.metrics.values())
        assert message.step >= 0 and message.total_steps >= 0 and message.HasField("update_time")


def test_numbers_have_their_places_and_the_rest_are_metrics() -> None:
    values = {
        "step": "3",
        "total": 4,
        "epoch": 0.5,
        "remaining": 9,
        "loss": "0.25",
        "message": "hi",
        "x": None,
    }
    assert said(values) == {
        "step": 3, "total_steps": 4, "epoch": 0.5, "remaining_s": 9.0, "ratio": 0.75, "message": "hi",
        "metrics": {"loss": 0.25},
    }  # fmt: skip
    assert progress_of({"x": None, "y": float("nan"), "step": 10**400, "z": True}) is None


def test_status_of_a_kubeflow_trainer_is_progress() -> None:
    status = {
        "progressPercentage": 42,
        "estimatedRemainingSeconds": 77,
        "metrics": [
            {"name": "loss", "value": "0.5"}, {"name": "current_step", "value": "21"},
            {"name": "total_steps", "value": "50"}, {"name": "current_epoch", "value": "1.25"}, {"name": 7}, "odd",
        ],
        "lastUpdatedTime": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    assert said(of_trainer_status(status)) == {
        "ratio": 0.42, "remaining_s": 77.0, "step": 21, "total_steps": 50, "epoch": 1.25, "metrics": {"loss": 0.5}
    }  # fmt: skip


@given(ANY, ANY, ANY)
def test_odd_status_is_no_trouble(percentage: object, remaining: object, metrics: object) -> None:
    of_trainer_status(
        {"progressPercentage": percentage, "estimatedRemainingSeconds": remaining, "metrics": metrics}
    )


def request(body: bytes, head: str = "POST / HTTP/1.1\r\nAuthorization: Bearer abc") -> bytes:
    return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("size", [0, 1, 40, 70])
def test_request_in_pieces_is_waited_for(size: int) -> None:
    whole = request(json.dumps({"step": 1}).encode())
    assert parsed(whole[:size]) is None
    found = parsed(whole)
    assert found is not None and (found.method, found.token, found.body) == ("POST", "abc", b'{"step": 1}')


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"POST / SMTP\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n", 413),
        (b"x" * 10_000, 413),
    ],
)
def test_what_is_no_report_is_refused_at_once(data: bytes, status: int) -> None:
    with pytest.raises(Refused) as refused:
        parsed(data)
    assert refused.value.status == status


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_a_refusal_or_to_be_continued(data: bytes) -> None:
    try:
        parsed(data)
    except Refused as refused:
        assert refused.status in (400, 411, 413)


def test_more_reports_than_it_takes_are_refused_for_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "_BURST", 3.0)
    monkeypatch.setattr(mailbox, "_PER_S", 0.0)
    heard: list[dict[str, Any]] = []

    def take(progress: dict[str, Any]) -> bool:
        heard.append(progress)
        return False

    box = mailbox.Mailbox(str(tmp_path), take)
    box.open()
    report = mailbox.Request("POST", (tmp_path / mailbox.TOKEN_FILE).read_text(), b'{"step": 1}')
    for _ in range(3):
        box._taken(report)
    with pytest.raises(Refused) as refused:
        box._taken(report)
    box.close()
    assert (refused.value.status, len(heard)) == (429, 3)
