"""Which operators the agents offer, as the scheduler tells: remembered for a few seconds.

While the scheduler cannot be reached, what it last told stands in for some minutes.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
import msgspec

from modelyard.errors import from_rpc_error
from modelyard.v1 import operator_pb2 as pb
from modelyard.v1 import operator_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.graph.canvases.operators import Operator, Port
from services.graph.model import OperatorsUnavailable

FRESH_MS = 2_000
STAND_IN_MS = 10 * 60_000
_TIMEOUT_S = 5.0
_PAGE = 200

_log = get_logger("graph.catalogue")


class Catalogue:
    """The operators by name. `channel` carries the service token."""

    def __init__(self, channel: grpc.aio.Channel, clock: Clock) -> None:
        self._stub = operator_pb2_grpc.OperatorServiceStub(channel)
        self._clock = clock
        self._known: Mapping[str, Operator] | None = None
        self._read_ms = 0
        self._reading = asyncio.Lock()
        self._made: dict[bytes, Operator] = {}

    async def operators(self) -> Mapping[str, Operator]:
        """What is offered now, at most two seconds old. Raises OperatorsUnavailable."""
        if not self._is_younger(FRESH_MS):
            async with self._reading:
                if not self._is_younger(FRESH_MS):
                    await self._refresh()
        assert self._known is not None
        return self._known

    def _is_younger(self, age_ms: int) -> bool:
        return self._known is not None and self._clock.monotonic_ms() - self._read_ms < age_ms

    async def _refresh(self) -> None:
        try:
            listed = await self._list()
        except grpc.aio.AioRpcError as error:
            refusal = from_rpc_error(error)
            if self._is_younger(STAND_IN_MS):
                _log.warning("operators_not_refreshed", code=refusal.code, reason=refusal.reason)
                return
            raise OperatorsUnavailable(
                next_step="repeat in a moment; yard doctor looks at the scheduler",
                metadata={"code": refusal.code},
            ) from error
        self._known = {operator.name: operator for operator in map(self._operator, listed)}
        self._read_ms = self._clock.monotonic_ms()

    async def _list(self) -> list[pb.Operator]:
        listed: list[pb.Operator] = []
        token = ""
        while True:
            request = pb.ListOperatorsRequest(page_size=_PAGE, page_token=token)
            answer = await self._stub.ListOperators(request, timeout=_TIMEOUT_S)
            listed += answer.operators
            token = answer.next_page_token
            if not token:
                return listed

    def _operator(self, message: pb.Operator) -> Operator:
        """The value of a message; equal ones give the same value."""
        key = message.SerializeToString(deterministic=True)
        made = self._made.get(key)
        if made is None:
            if len(self._made) > 10_000:
                self._made.clear()
            made = self._made[key] = operator_of(message)
        return made


def operator_of(message: pb.Operator) -> Operator:
    """The value of a message. A schema that is none counts as unknown: the agent checks parameters again."""
    schema: Any = None
    if message.params_schema_json:
        try:
            schema = msgspec.json.decode(message.params_schema_json)
        except (msgspec.MsgspecError, RecursionError):
            _log.warning("operator_schema_unreadable", operator=message.name)
    return Operator(
        name=message.name,
        version=message.version,
        schema=schema if isinstance(schema, dict) else None,
        inputs=tuple(Port(port.name, port.type, port.required) for port in message.inputs),
        outputs=tuple(Port(port.name, port.type) for port in message.outputs),
        nodes=tuple(sorted(message.nodes)),
        has_effects=message.has_effects,
        code_digest=message.code_digest,
    )
