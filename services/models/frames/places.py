"""The tasks that hold the seats of frames: asked for, followed, given back, explained (the edge to the scheduler)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence

import grpc.aio
import msgspec

from modelyard.v1 import task_pb2, task_pb2_grpc
from services.chassis.errors import ServiceError
from services.chassis.failpoints import failpoint
from services.chassis.logs import get_logger
from services.chassis.peers.sessions import Session, on_behalf_of
from services.chassis.process.supervise import Loops
from services.models.frames import effects as e
from services.models.frames import events as ev
from services.models.frames.beside import Beside
from services.models.frames.known import Known
from services.models.frames.model import FrameState
from services.models.frames.state import Frame
from services.models.frames.store import SeatRow
from services.models.frames.submissions import cause_of, spec_of, why_of
from services.models.surroundings.association import RuntimeMap

CALL_S = 20.0
_log = get_logger("models.frames")


class Submission(msgspec.Struct, frozen=True):
    """A seat that is asked for, and on disk."""

    batch: int
    frame: int
    account: str
    request: task_pb2.SubmitTasksRequest

    @property
    def row(self) -> SeatRow:
        return SeatRow(self.batch, self.frame, self.account, self.request.SerializeToString())


class Places:
    """What comes back is posted as events; decides nothing."""

    def __init__(
        self,
        scheduler: grpc.aio.Channel,
        loops: Loops,
        known: Known,
        post: Callable[[ev.Event], None],
        *,
        endpoint: str,
        runtimes: RuntimeMap,
        is_there: Callable[[int], bool],
    ) -> None:
        """`is_there`: whether a frame is still known."""
        self._scheduler = scheduler
        self._tasks = task_pb2_grpc.TaskServiceStub(scheduler)
        self._loops = loops
        self._known = known
        self._post = post
        self._endpoint = endpoint
        self._runtimes = runtimes
        self._beside = Beside()
        self._sessions: dict[str, Session[Submission]] = {}
        self._tasks_of: dict[str, int] = {}
        """Which frame's seat a task holds."""
        self._is_there = is_there
        self._explained: set[int] = set()
        """Frames of which the scheduler was asked why they are where they are."""

    def frame_of(self, task: str) -> int:
        """Whose seat a task holds; 0: nobody's here."""
        return self._tasks_of.get(task, 0)

    def packed(self, rows: Sequence[e.Row], frames: Mapping[int, Frame]) -> list[Submission]:
        """What the new seats of a step are asked for with; those that cannot be are refused."""
        found = []
        for row in rows:
            if not isinstance(row, e.InsertBatch):
                continue
            frame = frames[row.frame]
            served = self._known.of(frame.key)
            if served is None:
                self._post(ev.SeatRefused(row.frame, row.batch, "its version does not serve any more"))
                continue
            try:
                spec = spec_of(frame, served, self._endpoint, self._runtimes)
            except ServiceError as error:
                self._post(ev.SeatRefused(row.frame, row.batch, str(error)))
                continue
            request = task_pb2.SubmitTasksRequest(request_id=str(uuid.uuid4()), specs=[spec])
            found.append(Submission(row.batch, row.frame, frame.shape.account, request))
        return found

    def submit(self, seat: Submission) -> None:
        """It is on disk."""
        self._session(seat.account).submit(seat)

    def look(self, changed: Collection[Frame]) -> None:
        """Tasks that were not known are followed, and placements that were not told are asked for."""
        for one in changed:
            if not one.task:
                continue
            self.follow(one)
            if one.state is FrameState.LOADING and not one.placed_because:
                self._beside.start(
                    self._tell_placement(one.number, one.task, one.shape.account), f"why-{one.task}"
                )

    def follow(self, frame: Frame) -> None:
        """How its task ends is wanted."""
        if frame.task not in self._tasks_of:
            self._tasks_of[frame.task] = frame.number
            self._session(frame.shape.account).follow([frame.task])

    async def _tell_placement(self, number: int, task: str, account: str) -> None:
        """Why this node; a scheduler that does not say it keeps nobody waiting."""
        if number in self._explained:
            return
        self._explained = {one for one in self._explained if self._is_there(one)} | {number}
        request = task_pb2.ExplainTaskRequest(task_id=task)
        try:
            found = await self._tasks.ExplainTask(request, metadata=on_behalf_of(account), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            _log.info("placement_not_told", task=task, code=error.code().name)
            return
        if why := why_of(found.placement):
            self._post(ev.PlacementTold(number, why))

    def cancel(self, account: str, task: str) -> None:
        """Asked again by the machine until the task has ended."""
        self._beside.start(self._cancel(account, task), f"cancel-{task}")

    async def _cancel(self, account: str, task: str) -> None:
        request = task_pb2.CancelTasksRequest(task_ids=[task], comment="its frame wants no place any more")
        try:
            await self._tasks.CancelTasks(request, metadata=on_behalf_of(account), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            _log.warning("seat_not_cancelled", task=task, code=error.code().name, why=error.details())
            if error.code() is grpc.StatusCode.NOT_FOUND:
                self.on_unknown(account, [task])

    def _session(self, account: str) -> Session[Submission]:
        session = self._sessions.get(account)
        if session is None:
            session = self._sessions[account] = Session(self._scheduler, account, self)
            self._loops.start(f"session-{account}", session.run())
        return session

    # What comes back from the scheduler

    def on_accepted(self, account: str, batch: Submission, tasks: Sequence[str]) -> None:
        failpoint("models.after_seat")
        self._tasks_of[tasks[0]] = batch.frame
        self._post(ev.SeatAccepted(batch.frame, batch.batch, tasks[0]))
        if not self._is_there(batch.frame):
            self.cancel(account, tasks[0])

    def on_refused(self, account: str, batch: Submission, refusal: task_pb2.Refusal) -> None:
        message = refusal.message + (f" ({refusal.next_step})" if refusal.next_step else "")
        self._post(ev.SeatRefused(batch.frame, batch.batch, message))

    def on_outcomes(self, account: str, outcomes: Sequence[task_pb2.TaskOutcome]) -> None:
        for outcome in outcomes:
            number = self._tasks_of.pop(outcome.task_id, 0)
            if number:
                cause, message = cause_of(outcome)
                self._post(ev.SeatEnded(frame=number, task=outcome.task_id, cause=cause, message=message))

    def on_unknown(self, account: str, tasks: Sequence[str]) -> None:
        for task in tasks:
            number = self._tasks_of.pop(task, 0)
            if number:
                message = "the scheduler knows its seat no more"
                self._post(ev.SeatEnded(frame=number, task=task, cause="NODE_LOST", message=message))
