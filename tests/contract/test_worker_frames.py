"""Every frame of the harness and of the launcher is a message of worker.proto, and the other way round."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import json_format

from modelyard.v1 import worker_pb2
from tests.support.frames import Peer, short_directory, worker_process


@pytest.fixture
def place() -> Iterator[Path]:
    with short_directory() as path:
        yield path


def as_frame(message: worker_pb2.WorkerRequest) -> dict[str, object]:
    """As a peer that uses the protobuf JSON mapping to the letter would send it: 64-bit integers as text."""
    return dict(json.loads(json_format.MessageToJson(message, preserving_proto_field_name=True)))


def request(place: Path) -> worker_pb2.WorkerRequest:
    task = worker_pb2.TaskEnvironment(task_id="t-1", attempt=1, epoch=2**40, account="ann", array_index=-1)
    works = [
        worker_pb2.RunWork(
            key="files/1",
            operator=worker_pb2.RunOperator(
                operator="table.filter",
                params_json='{"column":"n"}',
                override_json='{"value":1}',
                inputs={"table": worker_pb2.WorkInput(data=b"n\n1\n2\n")},
                directory=str(place / "files"),
                log_directory=str(place / "files"),
                task=task,
            ),
        ),
        worker_pb2.RunWork(key="bad/1", operator=worker_pb2.RunOperator(operator="nope", task=task)),
        worker_pb2.RunWork(key="error/1", operator=worker_pb2.RunOperator(operator="fail", task=task)),
        worker_pb2.RunWork(
            key="command/1",
            command=worker_pb2.RunCommand(
                argv=["sh", "-c", "echo out; echo err >&2; sleep 0.05; exit 3"],
                env={"A": "b"},
                directory=str(place),
                log_directory=str(place / "logs"),
                limits=worker_pb2.Limits(cpu=1, memory_bytes=2**33, pids=10),
                record_path=str(place / "w1.records"),
            ),
        ),
        worker_pb2.RunWork(
            key="slow/1",
            operator=worker_pb2.RunOperator(operator="sleep", params_json='{"seconds":600}', task=task),
        ),
        worker_pb2.RunWork(key="waiting/1", operator=worker_pb2.RunOperator(operator="echo")),
    ]
    return worker_pb2.WorkerRequest(run=works)


def test_worker_frames_are_messages_of_the_contract(place: Path) -> None:
    with worker_process(place) as (_, path):
        peer = Peer(path)
        peer.send(**as_frame(request(place)))
        peer.until("started", "slow/1")
        peer.until("progress", "slow/1")
        other = Peer(path)
        inventory = other.until("inventory")
        modify = worker_pb2.ModifyWork(key="slow/1", params_json='{"seconds":500}', revision=2**33)
        cancel = [worker_pb2.CancelWork(key=key, grace_ms=2**33) for key in ("waiting/1", "slow/1")]
        other.send(**as_frame(worker_pb2.WorkerRequest(modify=[modify])))
        assert other.until("modified")["accepted"] is True
        other.send(**as_frame(worker_pb2.WorkerRequest(cancel=cancel, ack=["bad/1"])))
        other.until("ended", "slow/1")
        frames = peer.frames + other.frames
        peer.close()
        other.close()
    for frame in frames:
        json_format.ParseDict(frame, worker_pb2.WorkerResponse(), ignore_unknown_fields=False)
    record = json.loads((place / "w1.records").read_text())
    ended = json_format.ParseDict(record, worker_pb2.WorkEnded(), ignore_unknown_fields=False)
    assert ended.error.exit_code == 3
    parsed = json_format.ParseDict(inventory, worker_pb2.WorkerInventory(), ignore_unknown_fields=False)
    assert list(parsed.waiting) == ["waiting/1"]
    assert {report.key for report in parsed.ended} == {"files/1", "bad/1", "error/1", "command/1"}
    assert {report.error.cause for report in parsed.ended} == {"", "setup", "error", "exit"}


@pytest.mark.parametrize(
    "frame",
    [
        {"spawned": {"worker": "w", "pid": 1}},
        {"spawned": {"worker": "w", "error": "why"}},
        {"ended": {"worker": "w", "signal": 9}},
        {"ended": {"worker": "w", "exit_code": 1}},
        {"workers": {"workers": [{"worker": "w", "pid": 1}]}},
    ],
)
def test_launcher_frames_are_messages_of_the_contract(frame: dict[str, object]) -> None:
    json_format.ParseDict(frame, worker_pb2.LauncherResponse(), ignore_unknown_fields=False)
