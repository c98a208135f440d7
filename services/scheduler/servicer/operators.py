"""OperatorService: which operators there are, and which nodes offer them."""

from typing import Any

from modelyard.v1 import operator_pb2 as pb
from modelyard.v1 import operator_pb2_grpc
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.scheduler.engine import Engine
from services.scheduler.intake.operators import Operators
from services.scheduler.refusals import OperatorNotFound


class OperatorServicer(operator_pb2_grpc.OperatorServiceServicer):
    """Operators are the same for every account."""

    def __init__(self, engine: Engine, operators: Operators) -> None:
        self._engine = engine
        self._operators = operators

    def _view(self, name: str) -> pb.Operator | None:
        known = self._operators.get(name)
        if known is None:
            return None
        view = pb.Operator()
        view.CopyFrom(known)
        nodes = self._engine.state.cluster.nodes.values()
        view.nodes.extend(sorted(node.id for node in nodes if name in node.operators and node.session))
        return view

    async def ListOperators(self, request: pb.ListOperatorsRequest, context: Any) -> pb.ListOperatorsResponse:
        size = page_size(request.page_size)
        after = decode_token(request.page_token, b"operators")
        names = [name for name in self._operators.names() if name > after]
        views = [view for name in names[:size] if (view := self._view(name)) is not None]
        token = encode_token(names[size - 1], b"operators") if len(names) > size else ""
        return pb.ListOperatorsResponse(operators=views, next_page_token=token)

    async def GetOperator(self, request: pb.GetOperatorRequest, context: Any) -> pb.GetOperatorResponse:
        view = self._view(request.name)
        if view is None:
            raise OperatorNotFound(
                f"no agent offers an operator {request.name[:80]!r}",
                field="name",
                next_step="yard operators ls",
            )
        return pb.GetOperatorResponse(operator=view)
