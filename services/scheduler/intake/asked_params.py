"""Parameters as they come in: one spelling, a JSON object, and what the operator's schema says of them.

The edge for parameters: every refusal names the field by its path in the request. Nothing here changes state.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from google.protobuf.struct_pb2 import Struct, Value

from modelyard.operator import validate_params
from modelyard.v1 import task_pb2
from services.scheduler.refusals import InvalidParams, invalid

PARAMS_BYTES_MOST = 256 << 10
# Beyond it a double no longer tells one whole number from the next.
EXACT_INTEGER_MOST = 1 << 53

Schemas = Mapping[str, Mapping[str, Any]]


def settle_params(spec: task_pb2.TaskSpec, field: str) -> None:
    """Leaves the parameters in one spelling, params_json, and makes sure that they are a JSON object."""
    if spec.HasField("params"):
        if spec.params_json:
            raise invalid(f"{field}.params", "params and params_json are both set", "use one of them")
        spec.params_json = msgspec.json.encode(_plain(spec.params, f"{field}.params")).decode()
        spec.ClearField("params")
    if spec.params_json:
        params_object(spec.params_json, f"{field}.params_json")


def _plain(struct: Struct, field: str) -> dict[str, Any]:
    """The parameters as JSON has them: a Struct knows floats only, so whole numbers are made whole again."""
    return {name: _plain_value(value, field) for name, value in struct.fields.items()}


def _plain_value(value: Value, field: str) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _plain(value.struct_value, field)
    if kind == "list_value":
        return [_plain_value(item, field) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        if not math.isfinite(number):
            raise invalid(field, f"{number} is not a JSON number", "leave it out, or send null or text")
        return int(number) if number.is_integer() and abs(number) <= EXACT_INTEGER_MOST else number
    return None if kind in (None, "null_value") else getattr(value, kind)


def params_object(text: str, field: str) -> dict[str, Any]:
    """The JSON object in ``text``. Raises `InvalidSpec`."""
    size = len(text.encode())
    if size > PARAMS_BYTES_MOST:
        raise invalid(field, f"{size} bytes are more than {PARAMS_BYTES_MOST}", "send large values as inputs")
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise invalid(field, f"it is not a JSON object: {error}") from error
    except RecursionError as error:
        raise invalid(field, "it is nested too deeply", "send deep structures as inputs") from error


def check_params(
    operator: str, params: Mapping[str, Any], schemas: Schemas, field: str, *, has_more: bool = False
) -> None:
    """Compares parameters with the schema that agents gave for an operator; `has_more`: an agent gives others, so none
    is missing yet. Raises `InvalidParams`."""
    schema = schemas.get(operator)
    if schema is None:
        return
    problems = validate_params(dict(schema), dict(params))
    if has_more:
        problems = [problem for problem in problems if problem.kind != "missing"]
    if problems:
        text = "; ".join(p.message for p in problems[:5])
        path = ".".join(part for part in (field, problems[0].field) if part)
        raise InvalidParams(f"{operator}: {text}", field=path, next_step=f"yard operators get {operator}")
