"""Which operators the agents offer, as their hellos described them."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from modelyard.v1 import operator_pb2
from services.scheduler.refusals import InvalidRequest


class Operators:
    """By name; what a newer hello says replaces what an older one said."""

    def __init__(self) -> None:
        self._described: dict[str, operator_pb2.Operator] = {}
        self.schemas: dict[str, Mapping[str, Any]] = {}

    def learn(self, operators: Iterable[operator_pb2.Operator]) -> None:
        """Takes in what an agent offers. Raises `InvalidRequest` for a schema that is none."""
        for operator in operators:
            if operator.params_schema_json:
                self.schemas[operator.name] = _schema(operator)
            self._described[operator.name] = operator

    def get(self, name: str) -> operator_pb2.Operator | None:
        return self._described.get(name)

    def names(self) -> list[str]:
        return sorted(self._described)


def _schema(operator: operator_pb2.Operator) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(operator.params_schema_json, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(
            f"the schema of operator {operator.name!r} is not a JSON object: {error}", field="hello.operators"
        ) from error
