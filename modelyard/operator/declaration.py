"""How a function becomes an operator.

Owns the reading of a signature: parameters, ports, context, name, version, summary. Must not call the
function.
"""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints, overload

from modelyard.context import Context
from modelyard.operator.digests import code_digest
from modelyard.operator.ports import File, InputMarker, Port, port_type
from modelyard.operator.schema import Convert, UnsupportedType, default_json, shape

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)

_ATTRIBUTE = "__modelyard_operator__"


class Parameter(NamedTuple):
    """A parameter that comes from the task's params."""

    schema: dict[str, Any]
    convert: Convert | None
    required: bool


class Operator:
    """A declared function. Its signature is read when it is first asked for, so that annotations may name
    what is defined further down; a signature that cannot be described raises TypeError then."""

    def __init__(
        self,
        function: Function,
        name: str = "",
        version: str = "",
        outputs: Mapping[str, str] | None = None,
        has_effects: bool = False,
        libraries: Sequence[str] = (),
    ) -> None:
        self.function = function
        self.name = name or function.__name__
        self.version = version
        self.has_effects = has_effects
        self.libraries = tuple(libraries)
        self.is_async = inspect.iscoroutinefunction(function)
        self._outputs = outputs

    @cached_property
    def signature(self) -> "Signature":
        return read_signature(self)

    @cached_property
    def summary(self) -> str:
        """First sentence of the docstring."""
        text = " ".join((self.function.__doc__ or "").strip().split("\n\n")[0].split())
        return text.partition(". ")[0].rstrip(".") + "." if text else ""

    @cached_property
    def params_schema(self) -> dict[str, Any]:
        """JSON Schema of the parameters; "title" is the operator's name."""
        params = self.signature.params
        schema: dict[str, Any] = {
            "title": self.name,
            "type": "object",
            "properties": {name: parameter.schema for name, parameter in params.items()},
            "additionalProperties": self.signature.takes_more,
        }
        required = [name for name, parameter in params.items() if parameter.required]
        if required:
            schema["required"] = required
        return schema

    @property
    def declared_outputs(self) -> tuple[str, ...]:
        """Names of the outputs that the author named."""
        return tuple(self._outputs or ())

    @cached_property
    def outputs(self) -> tuple[Port, ...]:
        if self._outputs is not None:
            return tuple(Port(name, kind) for name, kind in self._outputs.items())
        return (Port("result", port_type(self.signature.returns)),)


class Signature(NamedTuple):
    """What a function takes, by where it comes from."""

    params: dict[str, Parameter]
    inputs: dict[str, tuple[Port, Any]]
    context_name: str
    takes_more: bool
    returns: Any


@overload
def operator(function: F, /) -> F: ...
@overload
def operator(
    *,
    name: str = "",
    version: str = "",
    outputs: Mapping[str, str] | None = None,
    has_effects: bool = False,
    libraries: Sequence[str] = (),
) -> Callable[[F], F]: ...
def operator(
    function: F | None = None,
    /,
    *,
    name: str = "",
    version: str = "",
    outputs: Mapping[str, str] | None = None,
    has_effects: bool = False,
    libraries: Sequence[str] = (),
) -> F | Callable[[F], F]:
    """Declares a function as an operator; the function itself stays as it is and can be called and tested.

    ``name`` is what tasks call it by (default: the function's name), ``version`` is the author's own,
    ``outputs`` names the outputs of a function that returns a dictionary: name → "json", "text", "bytes" or "file".
    ``has_effects`` says that it does something beside giving results: such calls keep their order in a graph and
    are never answered from its cache. ``libraries`` are the distributions that the function imports when it is called;
    their installed versions are part of the code's digest.
    """

    def declare(target: F) -> F:
        setattr(target, _ATTRIBUTE, Operator(target, name, version, outputs, has_effects, libraries))
        return target

    return declare if function is None else declare(function)


def declared(function: Function) -> Operator:
    """The operator of a function; one that was not declared is taken with its defaults."""
    found = getattr(function, _ATTRIBUTE, None)
    return found if isinstance(found, Operator) else Operator(function)


def describe(function: Function) -> dict[str, Any]:
    """What the contract's ``Operator`` says: name, version, summary, params_schema (and the same as
    ``params_schema_json``), inputs, outputs, has_effects, code_digest. Raises TypeError for a signature that JSON
    cannot carry."""
    of = declared(function)
    return {
        "name": of.name,
        "version": of.version,
        "summary": of.summary,
        "params_schema": of.params_schema,
        "params_schema_json": json.dumps(of.params_schema, separators=(",", ":")),
        "inputs": [port._asdict() for port, _ in of.signature.inputs.values()],
        "outputs": [port._asdict() for port in of.outputs],
        "has_effects": of.has_effects,
        "code_digest": code_digest(of.function, of.name, of.version, of.libraries),
    }


def read_signature(of: Operator) -> Signature:
    """Sorts the parameters of a function. Raises TypeError, naming operator and parameter."""
    hints = get_type_hints(of.function, include_extras=True)
    params: dict[str, Parameter] = {}
    inputs: dict[str, tuple[Port, Any]] = {}
    context_name, takes_more = "", False
    for parameter in inspect.signature(of.function).parameters.values():
        annotation = hints.get(parameter.name, Any)
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_more = True
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise TypeError(
                f"parameter {parameter.name!r} of operator {of.name!r} must have a name to pass it by"
            )
        elif annotation is Context:
            context_name = parameter.name
        elif _is_input(annotation):
            kind = get_args(annotation)[0]
            port = Port(parameter.name, port_type(kind), parameter.default is parameter.empty)
            inputs[parameter.name] = (port, kind)
        else:
            params[parameter.name] = _parameter(of.name, parameter, annotation)
    return Signature(params, inputs, context_name, takes_more, hints.get("return", Any))


def _is_input(annotation: Any) -> bool:
    return get_origin(annotation) is Annotated and any(
        isinstance(extra, InputMarker) for extra in get_args(annotation)[1:]
    )


def _parameter(operator_name: str, parameter: inspect.Parameter, annotation: Any) -> Parameter:
    if annotation in (bytes, File):
        port = "Input[bytes]" if annotation is bytes else "Input[Path]"
        raise TypeError(
            f"parameter {parameter.name!r} of operator {operator_name!r} is {annotation.__name__}; "
            f"declare it as an input port: {parameter.name}: {port}"
        )
    try:
        schema, convert = shape(annotation)
    except UnsupportedType as error:
        raise TypeError(f"parameter {parameter.name!r} of operator {operator_name!r}: {error}") from error
    required = parameter.default is parameter.empty
    if not required:
        schema = {**schema, **_default(parameter.default)}
    return Parameter(schema, convert, required)


def _default(value: Any) -> dict[str, Any]:
    try:
        return {"default": default_json(value)}
    except UnsupportedType:
        # Such a default works all the same; only its value cannot be shown.
        return {}
