"""Parameters of a node: the canvas's, with the run's filled in, and what is laid over them. Pure.

A parameter address says where more is read from when the node starts.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from services.chassis.errors import InvalidArgument, ServiceError

PARAM = "$param"
_DECODE = msgspec.json.Decoder()


class ParameterMissing(InvalidArgument):
    """A node wants a parameter that the run was not given."""


class AddressRefused(InvalidArgument):
    """Parameters are not read from there."""


class ParamsInvalid(InvalidArgument):
    """Parameters are a JSON object."""


class Address(msgspec.Struct, frozen=True):
    """Where parameters are read: "run", "artifact", "project" or "env"."""

    kind: str
    name: str


def decode_object(text: str, field: str) -> dict[str, Any]:
    """A JSON object; "" is an empty one. Raises ParamsInvalid."""
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ParamsInvalid(f"{field}: {error}", field=field, next_step='for example {"size": 3}') from error


def encode(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()


def resolve(text: str, values: Mapping[str, Any]) -> str:
    """The parameters with {"$param": name} replaced. Raises ParameterMissing."""
    if PARAM not in text:
        return text or "{}"
    return encode(_filled(_DECODE.decode(text), values))


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {PARAM}:
            name = str(value[PARAM])
            if name not in values:
                raise ParameterMissing(
                    f"the run has no parameter {name!r}",
                    field="params_json",
                    next_step=f'give {{"{name}": …}}',
                )
            return values[name]
        return {key: _filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    return value


def laid_over(text: str, over: str) -> str:
    """Two objects as one; `over` wins, member by member."""
    if over in ("", "{}"):
        return text
    return encode({**decode_object(text, "params"), **decode_object(over, "params")})


def parse_address(text: str) -> Address | None:
    """None: there is none. Raises AddressRefused."""
    if not text:
        return None
    kind, _, name = text.partition(":")
    if kind in ("http", "https"):
        raise AddressRefused(
            f"parameters are not read from {text[:80]!r}", field="parameter_address",
            next_step="put them into the store and name artifact:DIGEST",
        )  # fmt: skip
    if kind not in ("run", "artifact", "project", "env", "param") or not name:
        raise AddressRefused(
            f"{text[:80]!r} is no parameter address", field="parameter_address",
            next_step="run:NAME, artifact:DIGEST, project:ID/VERSION/NODE or env:NAME",
        )  # fmt: skip
    return Address(kind, name)


def variable_of(address: str) -> str:
    """The name in "env:NAME": the agent that executes the node reads it, nobody else (S1.4). Empty: another address."""
    return address[4:] if address.startswith("env:") else ""


def at_run(name: str, values: Mapping[str, Any]) -> str:
    """The run's parameter of that name, which has to be an object. Raises ParameterMissing, ParamsInvalid."""
    if name not in values:
        raise ParameterMissing(f"the run has no parameter {name!r}", field="params_json")
    if not isinstance(values[name], dict):
        raise ParamsInvalid(f"the run's parameter {name!r} is no object", field="params_json")
    return encode(values[name])


def reason_of(error: ServiceError) -> str:
    """What people read of a refusal."""
    return f"{error.message} ({error.next_step})" if error.next_step else error.message
