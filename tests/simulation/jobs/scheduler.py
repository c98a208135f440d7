"""What stands for the scheduler: tasks that hold seats, gangs placed whole or not at all, nodes that are lost.

It remembers everything, and tells whoever follows; its channel breaks as the weather wants it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from modelyard.v1 import artifact_pb2, contact_pb2
from modelyard.v1 import task_pb2 as pb
from tests.simulation.jobs.shelves import Store

if TYPE_CHECKING:
    from tests.simulation.jobs.machines import Machine

NOWHERE = "nowhere"
"""A job of this name can never be placed."""


class Task:
    """A seat, from its submission to its end."""

    def __init__(self, id_: str, index: int, spec: pb.TaskSpec) -> None:
        self.id = id_
        self.job = int(spec.seat.job_id[2:])
        self.role = spec.seat.role
        self.index = index
        self.spec = spec
        self.gang = spec.gang.name
        self.machine: Machine | None = None
        self.outcome: pb.TaskOutcome | None = None


class Scheduler:
    """Takes a submission once per request id; places gangs where they fit."""

    def __init__(self, chance: random.Random) -> None:
        self.tasks: dict[str, Task] = {}
        self.machines: list[Machine] = []
        self.store = Store()
        """Reached by the same channel."""
        self.asked_for_room = 0
        self.is_away = False
        self.refuses_now = 0.0
        """The share of submissions that are refused for now."""
        self.placed: set[str] = set()
        """Gangs that have formed."""
        self.sessions: dict[FakeSession, None] = {}
        self.notices: set[str] = set()
        """Ids of what people are to be told."""
        self._requests: dict[str, list[str]] = {}
        self._waiting: dict[str, list[Task]] = {}
        """Of each gang those without a place, in the order of submission."""
        self._chance = chance
        self._numbers = 0

    def add(self, machine: Machine) -> None:
        self.machines.append(machine)
        self.place()

    def submit(self, request: pb.SubmitTasksRequest) -> list[str]:
        """The same request again gets the same tasks."""
        known = self._requests.get(request.request_id)
        if known is not None:
            return known
        made = []
        for spec in request.specs:
            self._numbers += 1
            made.append(f"t-{self._numbers}")
            for element in range(spec.array_size):
                task = Task(f"{made[-1]}.{element}", spec.seat.index + element, spec)
                self.tasks[task.id] = task
                self._waiting.setdefault(task.gang, []).append(task)
        self._requests[request.request_id] = made
        first = request.specs[0]
        wait_s = first.timeouts.queue_timeout.ToTimedelta().total_seconds()
        if wait_s:
            asyncio.get_running_loop().call_later(wait_s, self._waited_too_long, first.gang.name)
        self._soon(self.place)
        return made

    def cancel(self, ids: Sequence[str]) -> None:
        """What waits has ended; what is placed ends at its machine."""
        for id_ in ids:
            task = self.tasks[id_]
            if task.outcome is None and task.machine is None:
                self._end(task, pb.TASK_STATE_CANCELLED, pb.TASK_CAUSE_CANCELLED)
            elif task.outcome is None and task.machine is not None:
                self._soon(task.machine.cancel, id_)

    def answer(self, method: str, request: Any) -> Any:
        """Unary calls."""
        if method == "CancelTasks":
            self.cancel(request.task_ids)
            return pb.CancelTasksResponse()
        if method == "Notify":
            self.notices.update([] if request.validate_only else [request.event_id])
            return contact_pb2.NotifyResponse(deliveries=[contact_pb2.ContactDelivery()])
        if method == "ExplainTask":
            self.asked_for_room += 1
            fits = self._would_fit(request.task_id, {*request.without})
            return pb.ExplainTaskResponse(fits_without=fits)
        if isinstance(request, artifact_pb2.AddReferencesRequest | artifact_pb2.RemoveReferencesRequest):
            return self.store.answer(request)
        raise AssertionError(f"nobody answers {method}")

    def _would_fit(self, id_: str, without: set[str]) -> bool:
        """Whether the gang of a task would be placed if those gave their places back."""
        task = self.tasks.get(id_)
        if task is None or task.outcome is not None or task.machine is not None:
            return False
        free = {
            machine: machine.free + sum(seat in without for seat in machine.seats)
            for machine in self.machines
            if machine.is_well
        }
        return self._places(self._needed(task.gang), free) is not None

    def _soon(self, act: Callable[..., Any], *values: Any) -> None:
        asyncio.get_running_loop().call_later(self._chance.random() * 0.05, act, *values)

    def place(self) -> None:
        """Higher priority first, then who came first; who does not fit lets others pass."""
        for name in sorted(self._waiting, key=lambda name: -self._waiting[name][0].spec.priority):
            waiting = self._waiting[name]
            if name in self.placed:
                for task in [*waiting]:
                    self._place_together([task])
                continue
            if self._place_together(self._needed(name)):
                self.placed.add(name)
                self._soon(self.place)

    def _needed(self, gang: str) -> list[Task]:
        """Who of those that wait must start together; of a gang that has formed any one of them."""
        waiting = self._waiting[gang]
        if gang in self.placed:
            return waiting[:1]
        needed: list[Task] = []
        for spec in {id(task.spec): task.spec for task in waiting}.values():
            own = [task for task in waiting if task.spec is spec]
            needed += own[: spec.gang.min_count or len(own)]
        return needed

    def _place_together(self, tasks: list[Task]) -> bool:
        """All of them, or none."""
        at = self._places(tasks, {machine: machine.free for machine in self.machines if machine.is_well})
        if at is None:
            return False
        for task, machine in zip(tasks, at, strict=True):
            task.machine = machine
            self._forget(task)
            machine.take(task)
        return True

    def _places(self, tasks: list[Task], free: dict[Machine, int]) -> list[Machine] | None:
        """One for each; None: not all have one."""
        at: list[Machine] = []
        for task in tasks:
            avoided = task.spec.placement.avoid_nodes
            fitting = [one for one, room in free.items() if room >= 1 and one.name not in avoided]
            if not fitting:
                return None
            at.append(self._chance.choice(fitting))
            free[at[-1]] -= 1
        return at

    def _forget(self, task: Task) -> None:
        waiting = self._waiting[task.gang]
        waiting.remove(task)
        if not waiting:
            del self._waiting[task.gang]

    def _waited_too_long(self, gang: str) -> None:
        """A gang that waited too long is cancelled as a whole."""
        for task in [*self._waiting.get(gang, ())]:
            self._end(task, pb.TASK_STATE_CANCELLED, pb.TASK_CAUSE_TIMEOUT)

    def ended(self, id_: str, state: pb.TaskState.ValueType, cause: pb.TaskCause.ValueType) -> None:
        """A machine says so, or has gone."""
        task = self.tasks[id_]
        if task.outcome is None:
            self._end(task, state, cause)
            self._soon(self.place)

    def _end(self, task: Task, state: pb.TaskState.ValueType, cause: pb.TaskCause.ValueType) -> None:
        if task.machine is None:
            self._forget(task)
        outcome = pb.TaskOutcome(task_id=task.id, state=state, attempt=int(task.machine is not None))
        outcome.node = task.machine.name if task.machine is not None else ""
        outcome.error.cause, outcome.error.message = cause, pb.TaskCause.Name(cause).lower()
        task.outcome = outcome
        for session in [*self.sessions]:
            session.tell(outcome)

    @property
    def open_tasks(self) -> list[str]:
        return [task.id for task in self.tasks.values() if task.outcome is None]


class Channel:
    """`grpc.aio.Channel` to it, as one process of the trainer has it."""

    def __init__(self, scheduler: Scheduler, chance: random.Random) -> None:
        self.scheduler = scheduler
        self.chance = chance

    def stream_stream(self, path: str, *args: Any, **options: Any) -> Callable[..., FakeSession]:
        assert path.endswith("/Session"), path
        return lambda **call: FakeSession(self)

    def unary_unary(self, path: str, *args: Any, **options: Any) -> Callable[..., Any]:
        async def call(request: Any, **more: Any) -> Any:
            await self._travel()
            answer = self.scheduler.answer(path.rpartition("/")[2], request)
            # The answer may be lost.
            await self._travel()
            return answer

        return call

    async def _travel(self) -> None:
        await asyncio.sleep(self.chance.random() * 0.1)
        if self.scheduler.is_away:
            raise gone()

    def unary_stream(self, path: str, *args: Any, **options: Any) -> Callable[..., AsyncIterator[Any]]:
        """What the trainer listens to but sessions: here nothing is ever said."""

        async def call(request: Any, **more: Any) -> AsyncIterator[Any]:
            await asyncio.Event().wait()
            yield None

        return call

    def stream_unary(self, path: str, *args: Any, **options: Any) -> Callable[..., Any]:
        """Made with the stubs, never called."""
        return lambda **call: None

    async def close(self) -> None:
        """Nothing to do."""


class FakeSession:
    """`TaskService.Session` as a client's call object."""

    def __init__(self, channel: Channel) -> None:
        self._scheduler, self._chance = channel.scheduler, channel.chance
        self._following: set[str] = set()
        self._answers: asyncio.Queue[pb.SessionResponse | None] = asyncio.Queue()
        self._asked: asyncio.Queue[pb.SessionRequest] = asyncio.Queue()
        self._scheduler.sessions[self] = None
        self._server = asyncio.get_running_loop().create_task(self._serve())
        if self._scheduler.is_away:
            self.cancel()

    async def write(self, request: pb.SessionRequest) -> None:
        self._asked.put_nowait(request)

    def cancel(self) -> None:
        """The end, from either side."""
        self._scheduler.sessions.pop(self, None)
        self._server.cancel()
        self._answers.put_nowait(None)

    def tell(self, outcome: pb.TaskOutcome) -> None:
        if outcome.task_id in self._following:
            self._following.discard(outcome.task_id)
            self._answers.put_nowait(pb.SessionResponse(outcomes=pb.TaskOutcomes(outcomes=[outcome])))

    async def _serve(self) -> None:
        while True:
            request = await self._asked.get()
            await asyncio.sleep(self._chance.random() * 0.1)
            response = pb.SessionResponse(sequence=request.sequence)
            if request.HasField("follow"):
                self._follow(request.follow.task_ids, response)
            elif self._chance.random() < self._scheduler.refuses_now:
                response.refused.code, response.refused.message = 14, "not now"
            elif any(spec.name.startswith(NOWHERE) for spec in request.submit.specs):
                response.refused.code, response.refused.message = 9, "it can never be placed"
            else:
                # Elements of arrays are told of to those who follow them.
                response.submitted.task_ids.extend(self._scheduler.submit(request.submit))
            self._answers.put_nowait(response)

    def _follow(self, ids: Sequence[str], response: pb.SessionResponse) -> None:
        for id_ in ids:
            task = self._scheduler.tasks.get(id_)
            if task is None:
                response.unknown_task_ids.append(id_)
            elif task.outcome is not None:
                response.outcomes.outcomes.append(task.outcome)
            else:
                self._following.add(id_)

    def __aiter__(self) -> AsyncIterator[pb.SessionResponse]:
        return self._read()

    async def _read(self) -> AsyncIterator[pb.SessionResponse]:
        while True:
            response = await self._answers.get()
            if response is None:
                raise gone()
            await asyncio.sleep(self._chance.random() * 0.1)
            yield response


def gone() -> grpc.aio.AioRpcError:
    """The other side is away."""
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "away")
