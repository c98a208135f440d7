"""What an agent is told of the machine's wishes, as messages (the edge)."""

from modelyard.training import ProgressSource
from modelyard.training.policies.readiness import Readiness, ReadinessKind
from modelyard.v1 import framework_pb2, seat_pb2
from services.chassis.peers.seat_links import close_command
from services.trainer.convert.addresses import Cache
from services.trainer.jobs.launching import watched
from services.trainer.model import Checkpoint
from services.trainer.state import effects as e
from services.trainer.state.jobs import LiveJob


def command_of(wish: e.AgentWish, live: LiveJob | None, cache: Cache | None) -> seat_pb2.SeatCommand | None:
    """What an agent is told of it; None: its job is gone. `cache`: of the job's addresses, where it is told of them."""
    if isinstance(wish, e.LaunchInstance | e.TellAddresses):
        if live is None or cache is None:
            return None
        told = cache.told_to(live.instances[wish.role, wish.index])
        if isinstance(wish, e.TellAddresses):
            return seat_pb2.SeatCommand(task_id=wish.task, addresses=told)
        return seat_pb2.SeatCommand(task_id=wish.task, launch=_launch(wish, told))
    if isinstance(wish, e.StopInstance):
        stop = seat_pb2.StopSeat(
            epoch=wish.epoch, signal=f"SIG{wish.signal}", grace_ms=round(1000 * wish.grace_s)
        )
        return seat_pb2.SeatCommand(task_id=wish.task, stop=stop)
    if isinstance(wish, e.CheckPeers):
        targets = [
            seat_pb2.PeerTarget(
                role=one.role, index=one.index, host=one.host, port=one.port, task_id=one.task
            )
            for one in wish.targets
        ]
        check = seat_pb2.CheckPeers(
            number=wish.number, targets=targets, callers=wish.callers, timeout_ms=wish.timeout_ms
        )
        return seat_pb2.SeatCommand(task_id=wish.task, check=check)
    if isinstance(wish, e.DumpStacks):
        return seat_pb2.SeatCommand(
            task_id=wish.task, dump_stacks=seat_pb2.DumpStacks(is_fatal=wish.is_fatal)
        )
    if isinstance(wish, e.DropFiles):
        dropped = seat_pb2.DropCheckpoints(names=wish.names)
        return seat_pb2.SeatCommand(task_id=wish.task, drop_checkpoints=dropped)
    return close_command(wish.task, wish.keep, wish.message, is_failure=wish.is_failure)


def _launch(wish: e.LaunchInstance, told: seat_pb2.PublishAddresses) -> seat_pb2.LaunchSeat:
    launch = wish.launch
    return seat_pb2.LaunchSeat(
        epoch=wish.epoch,
        processes=[
            framework_pb2.RenderedProcess(argv=one.argv, env=one.env, stdin=one.stdin)
            for one in launch.processes
        ],
        files=[
            framework_pb2.RenderedFile(path=one.path, content=one.content, is_executable=one.is_executable)
            for one in launch.files
        ],
        signs=[_sign(number, sign) for number, sign in watched(wish.signs)],
        addresses=told.addresses,
        address_revision=told.revision,
        progress=_progress(wish.progress),
        ends_together=launch.ends_together,
        silent_ms=round(1000 * wish.silent_s),
        imports=launch.imports,
        resume=_resume(wish.resume),
    )


def _resume(found: Checkpoint | None) -> seat_pb2.SeatCheckpoint | None:
    if found is None:
        return None
    message = seat_pb2.SeatCheckpoint(
        name=found.name, digest=found.digest, size_bytes=found.size_bytes, is_stored=found.is_stored
    )
    for path, digest, size_bytes in found.files:
        message.files.add(path=path, digest=digest, size_bytes=size_bytes)
    return message


def _progress(source: ProgressSource) -> list[seat_pb2.ProgressPattern]:
    found = [seat_pb2.ProgressPattern(log=pattern) for pattern in source.patterns]
    return found + ([seat_pb2.ProgressPattern(file=source.file)] if source.file else [])


def _sign(number: int, sign: Readiness) -> seat_pb2.SignSpec:
    spec = seat_pb2.SignSpec(id=number)
    if sign.kind is ReadinessKind.LISTENING:
        spec.listening = sign.port
    elif sign.kind is ReadinessKind.HTTP:
        spec.http.port, spec.http.path = sign.port, sign.path
    elif sign.kind is ReadinessKind.LOG:
        spec.log = sign.pattern
    else:
        spec.file, spec.is_filled = sign.path, sign.is_filled
    return spec
