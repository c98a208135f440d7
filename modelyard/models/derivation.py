"""What callers give, by what the component takes and the steps before it; and what they get (S2.2). Pure.

A step is followed from its result to what it needs (`before`), or from what it is given to its result (`after`). Where
a step leaves a type or a shape open it is None, and has to be said, or seen in a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from modelyard.models.step_rules import RULES, Contradiction, Known, Shape, Values, as_real, changed, unknown
from modelyard.models.steps import options_of
from modelyard.models.values import Step
from modelyard.serving.vocabulary import OPERATIONS


def before(steps: Sequence[Step], wanted: Values) -> Values | None:
    """What callers give so that the component gets what is wanted; None: not even its names are known."""
    found: Values | None = wanted
    for index, step in reversed(list(enumerate(steps))):
        if found is None:
            return None
        found = _at(f"pre[{index}]", step, found, is_backward=True)
    return found


def after(steps: Sequence[Step], given: Values, phase: str = "post") -> Values | None:
    """What comes out of the steps; None: not even its names are known."""
    found: Values | None = given
    for index, step in enumerate(steps):
        if found is None:
            return None
        found = _at(f"{phase}[{index}]", step, found, is_backward=False)
    return found


def _at(path: str, step: Step, values: Values, is_backward: bool) -> Values | None:
    try:
        return _followed(step, values, path, is_backward)
    except Contradiction as error:
        raise Contradiction(error.path or path, str(error)) from error


def _followed(step: Step, values: Values, path: str, is_backward: bool) -> Values | None:
    options = options_of(step)
    if step.code and "on" not in options:
        return None
    if step.op in _WHOLE:
        backward, forward = _WHOLE[step.op]
        return (backward if is_backward else forward)(values, options, path)
    names = _wanted(options.get("on"), values, options, path, is_backward)
    rules = RULES.get(step.op)
    rule = unknown if rules is None else rules[0 if is_backward else 1]
    target = str(options.get("to") or "")
    if not target:
        return tuple(rule(one, options) if one.name in names else one for one in values)
    if is_backward:
        # What it made is not the caller's; what it was made of is there, or is asked for.
        return _added(tuple(one for one in values if one.name != target), Known(name=next(iter(names))))
    made = [msgspec.structs.replace(rule(one, options), name=target) for one in values if one.name in names]
    return _added(values, *made)


def _wanted(on: Any, values: Values, options: Mapping[str, Any], path: str, is_backward: bool) -> set[str]:
    names = [on] if isinstance(on, str) and on else list(on or ())
    known = {one.name for one in values}
    if is_backward and options.get("to") and names:
        return set(names)
    return {_known(name, known, f"{path}.on") for name in names} or known


def _known(name: str, known: set[str], path: str) -> str:
    if name not in known:
        raise Contradiction(
            path, f"there is no value {name!r}; there are {', '.join(sorted(known)) or 'none'}"
        )
    return name


def _added(values: Values, *more: Known) -> Values:
    names = {one.name for one in more}
    return (*(one for one in values if one.name not in names), *more)


# Of all values together.

Whole = Callable[[Values, Mapping[str, Any], str], Values | None]


def _one(values: Values, name: str, path: str) -> Known:
    if not name and len(values) == 1:
        return values[0]
    if not name:
        raise Contradiction(f"{path}.on", f"say on which value: {', '.join(one.name for one in values)}")
    _known(name, {one.name for one in values}, f"{path}.on")
    return next(one for one in values if one.name == name)


def _after_rename(values: Values, options: Mapping[str, Any], path: str) -> Values:
    old = _one(values, options["on"], path).name
    if options["to"] in {one.name for one in values} - {old}:
        raise Contradiction(f"{path}.to", f"there is a value {options['to']!r} already")
    return tuple(changed(one, name=options["to"]) if one.name == old else one for one in values)


def _before_rename(values: Values, options: Mapping[str, Any], path: str) -> Values | None:
    if not options["on"]:
        return None
    _known(options["to"], {one.name for one in values}, f"{path}.to")
    return tuple(changed(one, name=options["on"]) if one.name == options["to"] else one for one in values)


def _dropped(options: Mapping[str, Any]) -> list[str]:
    return [options["on"]] if isinstance(options["on"], str) else list(options["on"])


def _after_drop(values: Values, options: Mapping[str, Any], path: str) -> Values:
    gone = {_known(name, {one.name for one in values}, f"{path}.on") for name in _dropped(options)}
    return tuple(one for one in values if one.name not in gone)


def _before_drop(values: Values, options: Mapping[str, Any], _: str) -> Values:
    return _added(values, *(Known(name=name) for name in _dropped(options)))


def _after_top_k(values: Values, options: Mapping[str, Any], path: str) -> Values:
    one = _one(values, options["on"], path)
    labels, shape = tuple(options["labels"]) or one.labels or one.columns, one.shape
    if shape is not None:
        count = options["k"] if shape[-1:] == (-1,) or not shape else min(options["k"], shape[-1])
        shape = (*shape[:-1], -1 if shape[-1:] == (-1,) else count)
    plain = changed(one, shape=shape, columns=(), labels=(), codec=None)
    made = [changed(plain, name=options["index"] or f"{one.name}_index", datatype="INT64")]
    if labels:
        made.append(changed(plain, name=options["label"] or f"{one.name}_label", datatype="BYTES"))
    return _added(tuple(plain if other is one else other for other in values), *made)


def _after_nms(values: Values, options: Mapping[str, Any], path: str) -> Values:
    boxes, scores = (_one(values, options[name], path) for name in ("boxes", "scores"))
    known = {one.name: one for one in values}
    classes = known.get(options["classes"], Known(name=options["classes"]))
    labels = classes.labels or scores.columns
    made = (
        changed(as_real(boxes, {}), shape=(-1, 4), columns=()),
        changed(as_real(scores, {}), shape=(-1,), columns=()),
        changed(classes, shape=(-1,), datatype="INT64", labels=labels, columns=(), codec=None),
    )
    new = {one.name: one for one in made}
    return (*(new.pop(one.name, one) for one in values), *new.values())


def _cannot_go_back(_values: Values, _options: Mapping[str, Any], _path: str) -> None:
    return None


_WHOLE: dict[str, tuple[Whole, Whole]] = {
    "rename": (_before_rename, _after_rename),
    "drop": (_before_drop, _after_drop),
    "top_k": (_cannot_go_back, _after_top_k),
    "nms": (_cannot_go_back, _after_nms),
}

assert {*RULES, *_WHOLE} == {*OPERATIONS["pre"], *OPERATIONS["post"]}


def differences(made: Values, wanted: Values) -> list[str]:
    """Where what steps make does not fit what the component takes, in words."""
    found, by_name = [], {one.name: one for one in made}
    for one in wanted:
        given = by_name.get(one.name)
        if given is None:
            if not one.is_optional:
                found.append(
                    f"{one.name} is not among what the steps make: {', '.join(by_name) or 'nothing'}"
                )
            continue
        if None not in (given.datatype, one.datatype) and given.datatype != one.datatype:
            found.append(f"{one.name} comes as {given.datatype}, and the component takes {one.datatype}")
        if given.shape is not None and one.shape is not None and not _meet(given.shape, one.shape):
            found.append(
                f"{one.name} comes as {list(given.shape)}, and the component takes {list(one.shape)}"
            )
    return found


def _meet(one: Shape, other: Shape) -> bool:
    return len(one) == len(other) and all(a == b or -1 in (a, b) for a, b in zip(one, other, strict=True))
