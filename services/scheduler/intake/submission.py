"""How a submission gets from its message to the machine: checked here, decided there."""

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

from modelyard.v1 import task_pb2
from services.chassis.security import principal
from services.scheduler.engine import Engine, Follower
from services.scheduler.intake import asked_params, seats, specs
from services.scheduler.intake.disk import DiskGuard
from services.scheduler.intake.inputs import Inputs
from services.scheduler.intake.operators import Operators
from services.scheduler.intake.prerequisites import Prerequisites
from services.scheduler.model import Spec, task_key
from services.scheduler.notify import notices
from services.scheduler.placement import fitting
from services.scheduler.refusals import DependencyMoved, InvalidRequest
from services.scheduler.requests import quotes
from services.scheduler.scheduling import entry, gang_entry, gathering
from services.scheduler.state.events import RequestRecalled, TasksSubmitted

MOST_ITEMS = 50_000
MOST_TRIES = 8


class Submission:
    """Takes submissions in, whole or not at all."""

    def __init__(self, engine: Engine, operators: Operators, inputs: Inputs, disk: DiskGuard) -> None:
        self._engine = engine
        self._operators = operators
        self._inputs = inputs
        self._disk = disk
        self._prerequisites = Prerequisites(engine)

    async def submit(
        self,
        request: task_pb2.SubmitTasksRequest,
        account: str,
        follower: Follower | None = None,
        content: bytes = b"",
    ) -> tuple[range, bool]:
        """The numbers of the tasks, and whether this is the answer of an earlier, equal request.

        The answer comes when they are on disk; the follower hears of their outcomes unless it is a repetition.
        ``content`` is what was asked for, where that is not the submission itself.
        """
        check_request_id(request.request_id)
        seats.check_caller(request.specs, principal())
        self._disk.check()
        if request.request_id and not content:
            content = content_of(request)
        await recall(self._engine, account, request.request_id)
        converted = [self._spec(spec, account, f"specs[{i}]") for i, spec in enumerate(request.specs)]
        items = self._items(request, converted)
        self._prerequisites.check_items(converted, items, are_specs=not request.items)
        ended = await self._prerequisites.ended(converted, account)
        gathering.check(converted, items)
        gang_entry.check_placeable(self._engine.state.cluster, converted, items)
        await self._inputs.refer(account, converted)
        if request.validate_only:
            entry.check_submission(self._engine.state, converted, items)
            quotes.plan(self._engine.state, account, converted, items, self._engine.now())
            return range(0), False
        for tries_left in reversed(range(MOST_TRIES)):
            reply, answer = self._engine.new_reply(follower)
            self._engine.post(
                TasksSubmitted(reply, account, request.request_id, content, tuple(converted), items, ended)
            )
            try:
                answered = await answer
                break
            except DependencyMoved:
                if not tries_left:
                    raise
            # Something that it depends on ended after it was looked up.
            ended = await self._prerequisites.ended(converted, account)
        return range(answered.first, answered.first + answered.count), answered.is_repeat

    def check(self, spec: task_pb2.TaskSpec, account: str, field: str) -> Spec:
        """The specification as it would be submitted. Raises as a submission would; nothing is kept of it."""
        seats.check_caller([spec], principal())
        converted = self._spec(spec, account, field)
        self._check_whole(converted, spec, "", f"{field}.params")
        return converted

    def _spec(self, spec: task_pb2.TaskSpec, account: str, field: str) -> Spec:
        state = self._engine.state
        known = state.specs.get((account, spec.SerializeToString(deterministic=True)))
        if known is None:
            known = specs.convert(spec, account, field)
        entry.check_entry(state.waiting.tenancy, known.shape, field)
        fitting.check_placeable(known.shape, state.cluster, field)
        if known.notice is not None:
            notices.check_told(known.notice, state.contacts.get(account, {}), field)
        return known

    def _items(
        self, request: task_pb2.SubmitTasksRequest, converted: list[Spec]
    ) -> tuple[tuple[int, str], ...]:
        if not request.specs:
            raise InvalidRequest(
                "there is nothing to submit", field="specs", next_step="give at least one spec"
            )
        if not request.items:
            for index, spec in enumerate(request.specs):
                self._check_whole(converted[index], spec, "", f"specs[{index}].params")
            return tuple((index, "") for index in range(len(converted)))
        if len(request.items) > MOST_ITEMS:
            raise InvalidRequest(
                f"{len(request.items)} items are more than {MOST_ITEMS} at once", field="items",
                next_step="submit in several requests, or as an array",
            )  # fmt: skip
        return tuple(self._item(request, converted, i, item) for i, item in enumerate(request.items))

    def _item(
        self,
        request: task_pb2.SubmitTasksRequest,
        converted: list[Spec],
        number: int,
        item: task_pb2.TaskItem,
    ) -> tuple[int, str]:
        index, params = item.spec_index, item.params_json
        if not 0 <= index < len(converted):
            field = f"items[{number}].spec_index"
            raise InvalidRequest(f"{field}: there is no spec {index}", field=field)
        self._check_whole(converted[index], request.specs[index], params, f"items[{number}].params_json")
        return index, params

    def _check_whole(self, spec: Spec, asked: task_pb2.TaskSpec, params: str, field: str) -> None:
        """The parameters that the operator will see must fit it."""
        operator, base = spec.shape.operator, asked.params_json
        if not operator and not params:
            return
        own = asked_params.params_object(params, field) if params else {}
        if operator in self._operators.schemas:
            whole: Mapping[str, Any] = own if not base else {**asked_params.params_object(base, field), **own}
            has_more = bool(asked.parameter_env)
            asked_params.check_params(operator, whole, self._operators.schemas, field, has_more=has_more)


async def recall(engine: Engine, account: str, request_id: str) -> None:
    """Lets the machine know of a request that is too old for its memory."""
    state = engine.state
    if request_id and state.has_forgotten_requests and (account, request_id) not in state.requests:
        known = await engine.store.get_request(account, request_id)
        if known is not None:
            engine.post(RequestRecalled(account, request_id, *known))


def content_of(request: task_pb2.SubmitTasksRequest | task_pb2.RetryTasksRequest) -> bytes:
    """What makes two requests the same, whatever their id."""
    request_id, request.request_id = request.request_id, ""
    content = request.SerializeToString(deterministic=True)
    request.request_id = request_id
    return hashlib.sha256(content).digest()


def check_request_id(text: str) -> None:
    """Raises `InvalidRequest` unless it is empty or a UUID."""
    if not text:
        return
    try:
        uuid.UUID(text)
    except ValueError as error:
        raise InvalidRequest(f"request_id: {text[:64]!r} is not a UUID", field="request_id") from error


def keys_of(numbers: range) -> list[int]:
    return [task_key(number) for number in numbers]
