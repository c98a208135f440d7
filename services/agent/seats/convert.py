"""Between the frames of shims and the messages of the trainers' link. No decisions here.

Frames of seats are in the JSON mapping of seat.proto itself, so most of it is passed through.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from modelyard.v1 import job_pb2
from modelyard.v1 import seat_pb2 as pb
from services.agent.tasks.events import WorkerLost

Message = dict[str, Any]

SEAT_FILE = "seat.json"


def event_of(event: Message, node: str) -> pb.SeatEvent:
    """What a shim has told, on this node."""
    told = ParseDict(event, pb.SeatEvent(), ignore_unknown_fields=True)
    if told.HasField("seat") and told.seat.HasField("exit"):
        told.seat.exit.node = node
    return told


def order_of(work_key: str, number: int, command: pb.SeatCommand) -> Message:
    """What a trainer wants, as a SeatOrder."""
    kind = command.WhichOneof("command")
    order: Message = {"key": work_key, "number": number}
    if kind is not None:
        order[kind] = MessageToDict(getattr(command, kind), preserving_proto_field_name=True)
    return order


def last_words(directory: Path, known: pb.Seat, lost: WorkerLost, node: str) -> pb.Seat:
    """A seat whose shim is gone: as the shim had it last, closed; what ran in it has ended with it."""
    seat = pb.Seat()
    seat.CopyFrom(known)
    # It may never have come to write it.
    with contextlib.suppress(OSError, ValueError, ParseError):
        written = json.loads((directory / SEAT_FILE).read_bytes())
        seat = ParseDict(written, pb.Seat(), ignore_unknown_fields=True)
    if seat.state in (pb.SEAT_STATE_RUNNING, pb.SEAT_STATE_STOPPING):
        seat.exit.CopyFrom(_end_with_shim(seat, lost))
    if seat.HasField("exit"):
        seat.exit.node = node
    seat.state = pb.SEAT_STATE_CLOSED
    return seat


def _end_with_shim(seat: pb.Seat, lost: WorkerLost) -> job_pb2.InstanceExit:
    cause = job_pb2.EXIT_CAUSE_OUT_OF_MEMORY if lost.out_of_memory else job_pb2.EXIT_CAUSE_NODE_LOST
    how = f"was ended by signal {lost.signal}" if lost.signal else lost.error or "has ended"
    end = job_pb2.InstanceExit(
        role=seat.role,
        index=seat.index,
        epoch=seat.epoch,
        cause=cause,
        signal=lost.signal,
        message=f"the process that keeps its seat {how}",
    )
    end.end_time.GetCurrentTime()
    return end
