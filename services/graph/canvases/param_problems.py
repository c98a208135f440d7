"""Parameters of nodes against the schema of their operator, before a run (S1.3). Pure.

A parameter of the run, {"$param": name}, counts with its default; without one, only that it exists is looked at.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from modelyard.operator.validation import matches, validate_params
from services.graph.canvases.canvas import Node, Param
from services.graph.canvases.identifiers import is_id
from services.graph.canvases.problems import Problem, Reason, shown, suggestion

REFERENCE = "$param"
PARAMS_BYTES_MOST = 1 << 20
"""Of one node."""
ADDRESS = re.compile(
    r"run:[^/\s]{1,200}|artifact:[0-9a-f]{64}|project:p-\d{1,18}/\d{1,18}/[\w./-]{1,500}|env:[A-Za-z_][A-Za-z0-9_]{0,99}"
)


def of_param(name: str, param: Param) -> Iterator[Problem]:
    """What is wrong with a parameter of the run."""
    field = f"params.{shown(name)}"
    if not is_id(name):
        yield Problem(Reason.BAD_ID, f"{shown(name)!r} is no name of a parameter", field=field)
    if not param.schema:
        return
    try:
        fits = matches(param.schema, None if param.is_required else param.default)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        yield Problem(
            Reason.MALFORMED, "the schema is not understood", field=f"{field}.schema",
            next_step="use type, enum, anyOf, minimum, maximum, items, properties, required",
        )  # fmt: skip
        return
    if not fits and not param.is_required:
        yield Problem(
            Reason.INVALID_PARAMETER, "the default does not fit the schema", field=f"{field}.default"
        )


def of_node(
    at: str, node: Node, schema: Mapping[str, Any] | None, params: Mapping[str, Param]
) -> Iterator[Problem]:
    """What is wrong with the parameters of a node; `schema` None: its operator's are not known."""
    address = node.parameter_address
    if address and not ADDRESS.fullmatch(address):
        yield Problem(
            Reason.BAD_ADDRESS, f"{shown(address)!r} is no address of parameters", at, field="parameter_address",
            next_step="use run:NAME, artifact:DIGEST, project:ID/VERSION/NODE or env:NAME",
        )  # fmt: skip
    if not node.initial_params and schema is None:
        return
    if len(msgspec.json.encode(node.initial_params)) > PARAMS_BYTES_MOST:
        yield Problem(
            Reason.TOO_LARGE, "the parameters have more than 1 MiB", at, field="initial_params",
            next_step="put large data into an artefact and connect it to an input",
        )  # fmt: skip
        return
    open_paths: list[str] = []
    unknown: list[tuple[str, str]] = []
    filled = _filled(node.initial_params, params, "", open_paths, unknown)
    for path, name in unknown:
        yield Problem(
            Reason.UNKNOWN_PARAMETER, f"the canvas has no parameter {shown(name)!r} of a run", at,
            field=f"initial_params.{path}",
            next_step=suggestion(name, params, "add it to the params of the canvas"),
        )  # fmt: skip
    if schema is None:
        return
    open_paths += [path for path, _ in unknown]
    for reason, path, message, is_missing in _problems(schema, filled):
        if is_missing and address:
            continue
        if any(path == one or path.startswith((f"{one}.", f"{one}[")) for one in open_paths):
            continue
        yield Problem(reason, message, at, field=f"initial_params.{path}" if path else "initial_params")


def _filled(
    value: Any, params: Mapping[str, Param], path: str, still_open: list[str], unknown: list[tuple[str, str]]
) -> Any:
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(name := value.get(REFERENCE), str):
            if name not in params:
                unknown.append((path, name))
                return None
            if params[name].is_required:
                still_open.append(path)
                return None
            return params[name].default
        return {
            key: _filled(inner, params, f"{path}.{key}" if path else key, still_open, unknown)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [
            _filled(inner, params, f"{path}[{number}]", still_open, unknown)
            for number, inner in enumerate(value)
        ]
    return value


def _problems(
    schema: Mapping[str, Any], params: Mapping[str, Any]
) -> Iterator[tuple[Reason, str, str, bool]]:
    for problem in validate_params(schema, params):
        yield _REASONS[problem.kind], problem.field, problem.message, problem.kind == "missing"


_REASONS = {
    "missing": Reason.MISSING_PARAMETER,
    "unknown": Reason.UNKNOWN_PARAMETER,
    "range": Reason.OUT_OF_RANGE,
    "type": Reason.INVALID_PARAMETER,
}
