"""Calls whose result goes to a contact as well (S2.7, S0.8): who named one is refused before anything is computed, or
told in the answer that the message is accepted.

Owns the parameter `contact` and what the answer says of it; `People` has the contacts. Calls that name none pass.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from modelyard.oip.v2 import inference_pb2 as pb
from modelyard.serving.wire import Message
from modelyard.v1 import contact_pb2
from services.chassis.clock import Clock
from services.chassis.errors import ServiceError
from services.chassis.security import Principal
from services.models.calls.asking import DRAWING
from services.models.calls.calls import Calls
from services.models.calls.errors import ParameterWrong
from services.models.calls.messages import Request
from services.models.calls.notice import Drawn, Told, failure_request, files_of, result_request
from services.models.seams import Served

CONTACT = "contact"
"""The parameter of a call: a contact of the caller's account."""
NOTICE = "notice"
"""Of the answer: the message is on disk under this subject (`yard contacts deliveries --subject`)."""
CONTACT_ERROR = "contact_error"
"""Of the answer: there is no message, or it goes without its pictures, and why."""
VISUALISE = "visualise"
PARTS_MOST = 20
"""Of an answer in parts, that are told; the last ones."""
_REFUSALS = frozenset(
    {"INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNIMPLEMENTED", "FAILED_PRECONDITION"}
)
"""What was never begun is the caller's to know, nobody else's."""

OnPart = Callable[[Served, Message], None] | None


class People(Protocol):
    """Who may be told, and how."""

    async def check(self, account: str, contact: str) -> None:
        """Raises ServiceError where it cannot be told."""
        ...

    async def tell(self, account: str, request: contact_pb2.NotifyRequest, files: Sequence[Drawn]) -> str:
        """On disk on return. What went wrong with the files, empty: nothing. Raises ServiceError."""
        ...


class Telling:
    """The same as `Calls.infer`, and telling."""

    def __init__(self, calls: Calls, people: People, clock: Clock) -> None:
        self._calls = calls
        self._people = people
        self._clock = clock

    async def infer(
        self, caller: Principal, request: Request, left_s: float | None, on_part: OnPart = None
    ) -> tuple[Served, Message]:
        """As `Calls.infer`; further raises what `People.check` does."""
        if CONTACT not in request.message.parameters:
            return await self._calls.infer(caller, request, left_s, on_part)
        told = await self._accepted(caller, request)
        parts: list[Message] = []
        try:
            served, message = await self._calls.infer(
                caller, _drawn(request), left_s, _kept(parts, request, on_part)
            )
        except ServiceError as error:
            if error.code not in _REFUSALS:
                await self._tell_failure(caller, told, error)
            raise
        said = await self._tell_result(caller, told, served, [*parts, message])
        answer = _asked(message, request)
        answer.header["parameters"] = {**answer.header.get("parameters", {}), **said}
        return served, answer

    async def _accepted(self, caller: Principal, request: Request) -> Told:
        """Whether the call and its contact may be; before it costs anything."""
        contact = _contact(request.message)
        key = self._calls.route(caller, request).served.key
        await self._people.check(caller.account, contact)
        return Told(
            f"call-{uuid.uuid4().hex[:16]}",
            self._clock.now_ms(),
            contact,
            caller.account,
            key.model,
            key.version,
        )

    async def _tell_result(
        self, caller: Principal, told: Told, served: Served, messages: Sequence[Message]
    ) -> Mapping[str, str]:
        """What the answer says of it."""
        notice = result_request(told, served, messages, self._clock.now_ms())
        try:
            wrong = await self._people.tell(caller.account, notice, files_of(messages))
        except ServiceError as error:
            # The values are right without it.
            return {CONTACT_ERROR: f"{told.contact} is not told: {error.message}"}
        return {NOTICE: told.call, CONTACT_ERROR: wrong} if wrong else {NOTICE: told.call}

    async def _tell_failure(self, caller: Principal, told: Told, error: ServiceError) -> None:
        notice = failure_request(told, error, self._clock.now_ms())
        try:
            await self._people.tell(caller.account, notice, ())
        except ServiceError as trouble:
            error.metadata = {**error.metadata, CONTACT_ERROR: trouble.message}
        else:
            error.metadata = {**error.metadata, NOTICE: told.call}


def _contact(message: pb.ModelInferRequest) -> str:
    value = message.parameters[CONTACT]
    if value.WhichOneof("parameter_choice") != "string_param" or not value.string_param:
        raise ParameterWrong(
            "contact is the name of one of your contacts",
            field=f"parameters[{CONTACT}]",
            next_step="yard contacts ls shows them",
        )
    return value.string_param


def _drawn(request: Request) -> Request:
    """The same call with the model's drawings: who is told sees them."""
    if VISUALISE in request.message.parameters:
        return request
    message = pb.ModelInferRequest()
    message.CopyFrom(request.message)
    message.parameters[VISUALISE].string_param = "all"
    return Request(message, request.raw)


def _kept(parts: list[Message], request: Request, on_part: OnPart) -> OnPart:
    """Passes parts on, and keeps the last of them."""
    if on_part is None:
        return None

    def take(served: Served, message: Message) -> None:
        parts.append(message)
        if len(parts) > PARTS_MOST:
            del parts[0]
        on_part(served, _asked(message, request))

    return take


def _asked(message: Message, request: Request) -> Message:
    """Without drawings that the caller did not ask for."""
    header = dict(message.header)
    if VISUALISE in request.message.parameters:
        return Message(header, message.buffers)
    wanted = {output.name for output in request.message.outputs}
    outputs: Sequence[dict[str, Any]] = header.get("outputs", ())
    both = [
        (head, data)
        for head, data in zip(outputs, message.buffers, strict=True)
        if not head["name"].startswith(DRAWING) or head["name"] in wanted
    ]
    header["outputs"] = [head for head, _ in both]
    return Message(header, [data for _, data in both])
