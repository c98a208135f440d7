"""What agents say of seats as events of the machine. Decides nothing."""

from __future__ import annotations

from modelyard.training import Address
from modelyard.training.policies.restarts import Cause
from modelyard.v1 import job_pb2, seat_pb2
from services.trainer.model import Exit
from services.trainer.records.log_index import Began
from services.trainer.state.events import (
    CheckpointSeen,
    Event,
    InstanceEnded,
    InstanceStarted,
    SeatOpened,
    SeatStands,
    SignSeen,
)

_CAUSES = {job_pb2.ExitCause.Value(f"EXIT_CAUSE_{cause.name}"): cause for cause in Cause}
"""A later agent may know more of them: those count as an exit."""
_LIVE = (seat_pb2.SEAT_STATE_RUNNING, seat_pb2.SEAT_STATE_STOPPING)


def checkpoint_of(
    at: tuple[int, str, int], task: str, epoch: int, node: str, found: seat_pb2.SeatCheckpoint
) -> CheckpointSeen:
    """A checkpoint that an agent has found, or has stored, or cannot make ready."""
    return CheckpointSeen(
        job=at[0], role=at[1], index=at[2], task=task, node=node, epoch=epoch, name=found.name, digest=found.digest,
        files=tuple((file.path, file.digest, file.size_bytes) for file in found.files), size_bytes=found.size_bytes,
        time_ms=found.time.ToMilliseconds(), is_stored=found.is_stored, flaw=found.flaw,
    )  # fmt: skip


def number_of(job_id: str) -> int:
    """Of "j-7"; 0: it is none of ours."""
    digits = job_id.removeprefix("j-")
    return int(digits) if digits.isascii() and digits.isdecimal() else 0


def launch_of(seat: seat_pb2.Seat) -> list[Began]:
    """Where the output of its latest launch begins."""
    if not seat.epoch:
        return []
    return [Began(number_of(seat.job_id), seat.task_id, seat.epoch, seat.stdout_offset, seat.stderr_offset)]


def events_of(seat: seat_pb2.Seat, hello: seat_pb2.SeatHello, *, is_greeting: bool) -> list[Event]:
    """What a seat's state says."""
    at = (number_of(seat.job_id), seat.role, seat.index)
    found: list[Event] = []
    if seat.state == seat_pb2.SEAT_STATE_OPEN or (
        is_greeting and seat.state != seat_pb2.SEAT_STATE_PREPARING
    ):
        address = Address(
            host=hello.host or hello.ip,
            ip=hello.ip,
            ports=dict(seat.ports),
            directory=seat.directory,
            node=hello.node,
            forward_port=seat.forward_port,
            network=hello.network,
        )
        found.append(SeatOpened(*at, seat.task_id, address))
        found += [checkpoint_of(at, seat.task_id, seat.epoch, hello.node, one) for one in seat.checkpoints]
    is_here = is_greeting and seat.state not in (seat_pb2.SEAT_STATE_PREPARING, seat_pb2.SEAT_STATE_CLOSED)
    # One that was told as preparing in the greeting may have had a launch that was lost.
    if is_here or seat.state == seat_pb2.SEAT_STATE_OPEN:
        found.append(SeatStands(*at, seat.task_id, seat.epoch))
    if seat.state in _LIVE:
        found.append(InstanceStarted(*at, seat.task_id, seat.epoch))
    if is_greeting or seat.state == seat_pb2.SEAT_STATE_ENDED:
        # An end is judged by them.
        found += [SignSeen(*at, seat.epoch, sign) for sign in seat.seen_signs]
    if seat.state == seat_pb2.SEAT_STATE_ENDED and seat.HasField("exit"):
        found.append(InstanceEnded(*at, seat.task_id, _exit(seat, hello.node)))
    return found


def _exit(seat: seat_pb2.Seat, node: str) -> Exit:
    exit_ = seat.exit
    return Exit(
        epoch=seat.epoch,
        cause=_CAUSES.get(exit_.cause, Cause.EXIT),
        exit_code=exit_.exit_code,
        signal=exit_.signal,
        message=exit_.message,
        process=exit_.process,
        last_lines=tuple(exit_.last_lines),
        matched=(exit_.matched,) if exit_.matched else (),
        end_ms=exit_.end_time.ToMilliseconds(),
        node=node,
    )
