"""Why a call would be answered where it would, or would wait (ExplainModelCall)."""

from __future__ import annotations

import grpc.aio

from modelyard.v1 import deployment_pb2 as pb
from modelyard.v1 import task_pb2, task_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.peers.sessions import on_behalf_of
from services.models.convert.deployment import frame_message
from services.models.frames.engine import FrameEngine
from services.models.frames.model import FrameState
from services.models.frames.source import Frames
from services.models.frames.state import Frame
from services.models.frames.submissions import spec_of
from services.models.seams import Route

CALL_S = 5.0


class Explaining:
    """Asks the state, and the scheduler where a frame would have to be placed."""

    def __init__(
        self, engine: FrameEngine, frames: Frames, scheduler: grpc.aio.Channel, clock: Clock
    ) -> None:
        self._engine = engine
        self._frames = frames
        self._tasks = task_pb2_grpc.TaskServiceStub(scheduler)
        self._clock = clock

    async def explain(self, name: str, version: str, sticky: str) -> pb.ExplainModelCallResponse:
        """Raises what `route` raises."""
        route = self._frames.route(name, version, sticky)
        key = route.served.key
        response = pb.ExplainModelCallResponse(model=key.model, version=key.version)
        which = f"version {key.version} of {key.model}"
        if route.deployment:
            which += f", as the weights of {route.deployment} say for {sticky!r}"
        frames = self._engine.state.of(key)
        ready = [one for one in frames if one.state is FrameState.READY and one.is_connected]
        if ready:
            least = min(ready, key=lambda one: one.active)
            response.frame.CopyFrom(frame_message(least))
            response.summary = (
                f"{which}: f-{least.number} on {least.at_node} is warm, with {least.active} calls in it"
            )
            if len(ready) > 1:
                response.summary += f"; it is the least busy of {len(ready)}"
            return response
        failure = self._engine.state.failures.get(key)
        if failure is not None and self._clock.now_ms() < failure.until_ms:
            wait_s = (failure.until_ms - self._clock.now_ms()) / 1000
            response.summary = f"{which} could not be loaded: {failure.message}"
            response.next_step = (
                f"it is tried again in {wait_s:.0f} s; a corrected configuration is tried at once"
            )
            return response
        if frames:
            await self._of_frame(frames[0], which, response)
        else:
            await self._of_none(route, which, response)
        return response

    async def _of_frame(self, frame: Frame, which: str, response: pb.ExplainModelCallResponse) -> None:
        """One is on its way."""
        response.frame.CopyFrom(frame_message(frame))
        words = {
            FrameState.PENDING: "waits for its place",
            FrameState.LOADING: f"is being loaded on {frame.at_node}",
            FrameState.READY: f"on {frame.at_node} is being connected to",
        }[frame.state]
        response.summary = f"{which}: f-{frame.number} {words}"
        if frame.message:
            response.summary += f": {frame.message}"
        if frame.state is not FrameState.PENDING or not frame.task:
            return
        request = task_pb2.ExplainTaskRequest(task_id=frame.task)
        try:
            found = await self._tasks.ExplainTask(
                request, metadata=on_behalf_of(frame.shape.account), timeout=CALL_S
            )
        except grpc.aio.AioRpcError as error:
            response.next_step = f"the scheduler does not say why it waits: {error.code().name}"
            return
        response.summary += f": {found.summary}"
        response.queue_position = found.queue_position

    async def _of_none(self, route: Route, which: str, response: pb.ExplainModelCallResponse) -> None:
        """It would have to be loaded."""
        self._engine.known.note(route.served)
        frame = Frame(
            number=self._engine.state.next_frame, shape=self._frames.shape(route.served, route.deployment)
        )
        spec = spec_of(frame, route.served, self._engine.endpoint, self._engine.runtimes)
        state = self._engine.state
        response.summary = f"{which} is not loaded; a call loads it"
        lacking = state.held_bytes + frame.shape.memory_bytes - state.budget_bytes
        if state.budget_bytes and lacking > 0:
            response.summary += ", and frames that are unused longest make room for it"
        try:
            found = await self._tasks.PlanTask(
                task_pb2.PlanTaskRequest(spec=spec),
                metadata=on_behalf_of(frame.shape.account),
                timeout=CALL_S,
            )
        except grpc.aio.AioRpcError as error:
            response.next_step = f"the scheduler does not say where: {error.code().name}: {error.details()}"
            return
        response.placement.CopyFrom(found)
        response.queue_position = found.queue_position
        response.summary += f": {found.summary}"
