"""`client.operators`: what the agents can do."""

from __future__ import annotations

from functools import cached_property

from modelyard.client.connection import Connection
from modelyard.v1 import operator_pb2, operator_pb2_grpc


class Operators:
    """The operators that the agents offer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _stub(self) -> operator_pb2_grpc.OperatorServiceAsyncStub:
        return operator_pb2_grpc.OperatorServiceStub(self._connection.scheduler())

    async def list(self, *, page_size: int = 0, page_token: str = "") -> operator_pb2.ListOperatorsResponse:
        """One page of operators."""
        request = operator_pb2.ListOperatorsRequest(page_size=page_size, page_token=page_token)
        return await self._connection.unary(self._stub.ListOperators, request)

    async def get(self, name: str) -> operator_pb2.Operator:
        """One operator with its ports and the schema of its parameters."""
        request = operator_pb2.GetOperatorRequest(name=name)
        return (await self._connection.unary(self._stub.GetOperator, request)).operator
