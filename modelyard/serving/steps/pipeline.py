"""Steps of model.yaml made ready once, then applied to the values of every call, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelyard.serving.errors import ComponentUnfit, InvalidValue, ServingError
from modelyard.serving.steps import boxes, classes, numbers, pictures, shapes, texts
from modelyard.serving.steps.code import Code, load_function
from modelyard.serving.steps.names import Names
from modelyard.serving.vocabulary import OPERATIONS, POST, PRE

Values = dict[str, Any]
Each = Callable[[Any, Mapping[str, Any], Names], Any]
Whole = Callable[[Values, Mapping[str, Any], Names], Values]

EACH: dict[str, Each] = {
    **numbers.OPERATIONS, **shapes.OPERATIONS, **pictures.OPERATIONS, **texts.OPERATIONS, **classes.OPERATIONS,
}  # fmt: skip
"""Operations on one value after the other."""
WHOLE: dict[str, Whole] = {**shapes.WHOLE, **classes.WHOLE, **boxes.WHOLE}
"""Operations on all values together."""

_WRONG = (ValueError, TypeError, IndexError, KeyError, OverflowError, AttributeError, ZeroDivisionError)


@dataclass(frozen=True, slots=True)
class _Step:
    path: str
    op: str
    options: dict[str, Any]
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Steps that are ready; safe to call from several threads at once, if the component's own code is."""

    steps: tuple[_Step, ...] = ()
    names: Names = field(default_factory=Names)
    is_callers: bool = True
    """What does not fit was given by a caller, not by the component."""

    def __call__(self, values: Mapping[str, Any], parameters: Mapping[str, Any] | None = None) -> Values:
        """The values as they come out; what is given is not changed.

        Raises InvalidValue (before the computation) or ComponentUnfit (after it), with the step and the value.
        """
        found, names = dict(values), self.names.copy()
        for step in self.steps:
            try:
                found = _applied(step, found, parameters or {}, names)
            except ServingError as error:
                error.field = error.field or step.path
                raise
            except _WRONG as error:
                kind = InvalidValue if self.is_callers else ComponentUnfit
                what = step.op if step.code is None else step.code.reference
                raise kind(f"{what}: {_words(error)}", step.path) from error
        return found


def prepare(
    steps: Sequence[Mapping[str, Any]],
    folder: Path,
    *,
    phase: str = PRE,
    tensors: Iterable[Mapping[str, Any]] = (),
) -> Pipeline:
    """Steps as model.yaml has them ({op, code, options}), of a component in `folder`; its code is imported now.

    `tensors` are the declared inputs (or outputs, for "post"), whose columns and labels steps may name.
    Raises ComponentUnfit with the path of a step that cannot be.
    """
    ready = []
    for index, given in enumerate(steps):
        path, options = f"{phase}[{index}]", dict(given.get("options") or ())
        code = str(given.get("code") or "")
        if code:
            ready.append(_Step(path, "", options, load_function(code, folder, path)))
            continue
        op = str(given.get("op") or "")
        operation = OPERATIONS[phase].get(op)
        if operation is None:
            raise ComponentUnfit(f"there is no operation {op!r} here", path)
        ready.append(_Step(path, op, {**operation.defaults(), **options}))
    return Pipeline(tuple(ready), Names.of(tensors), phase != POST)


def _applied(step: _Step, values: Values, parameters: Mapping[str, Any], names: Names) -> Values:
    if step.code is None and step.op in WHOLE:
        return WHOLE[step.op](values, step.options, names)
    if step.code is not None and "on" not in step.options:
        return step.code.whole(values, step.options, parameters)
    found = {}
    wanted = _wanted(step.options.get("on"), values)
    for name, value in values.items():
        if name not in wanted:
            found[name] = value
            continue
        target = step.options.get("to") or name
        if target != name:
            found[name] = value
        about = replace(names, current=name, target=target)
        try:
            found[target] = (
                EACH[step.op](value, step.options, about)
                if step.code is None
                else step.code.each(value, step.options, parameters)
            )
        except _WRONG as error:
            raise ValueError(f"{name}: {_words(error)}") from error
    return found


def _words(error: Exception) -> str:
    text = str(error.args[0]) if error.args and not isinstance(error, UnicodeError) else str(error)
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def _wanted(on: str | Sequence[str] | None, values: Values) -> set[str]:
    chosen = [on] if isinstance(on, str) and on else list(on or ())
    for name in chosen:
        if name not in values:
            raise ValueError(f"there is no value {name!r}; there are {', '.join(values) or 'none'}")
    return set(chosen or values)
