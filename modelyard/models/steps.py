"""Steps of model.yaml: what may be written there, checked by the one table of operations (S2.5). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.documents.problems import Findings, Position, Reason, shown, suggestion
from modelyard.documents.section import Section
from modelyard.documents.yaml_text import Node
from modelyard.models.values import Step
from modelyard.serving.vocabulary import (
    CHARTS,
    CODE_DRAWING,
    HTML,
    OPERATIONS,
    PILLOW,
    PNG,
    SANITISER,
    VEGA_LITE,
    VISUALISE,
    Operation,
    Option,
    mistake,
)

_CODE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,199}:[A-Za-z_][A-Za-z0-9_.]{0,199}")
_WHERE = {"pre": "before the computation", "post": "after the computation", "visualise": "to draw"}


def read_steps(items: Sequence[tuple[Node, Position]], phase: str, findings: Findings) -> tuple[Step, ...]:
    """The steps of a list; whatever is wrong with one is noted with its line and column."""
    steps = [_step(Section(item, at, findings), item, phase) for item, at in items]
    if phase == VISUALISE:
        _no_name_twice(steps, items, findings)
    return tuple(steps)


def _step(section: Section, item: Node, phase: str) -> Step:
    op, code = section.word("op"), section.text("code")
    if bool(op) == bool(code):
        section.wrong("op", Reason.CONTRADICTION, "a step is an op, or code", "op: softmax")
    elif code:
        _code(section, item, code, phase)
    else:
        _operation(section, item, op, phase)
    fields = item.fields or {}
    options = tuple((name, node.plain()) for name, node in fields.items() if name not in ("op", "code"))
    return Step(op=op, code=code, options=options)


def _code(section: Section, item: Node, code: str, phase: str) -> None:
    if not _CODE.fullmatch(code):
        section.wrong("code", Reason.BAD_VALUE, f"{shown(code)!r} names no function", "code: module:function")
    if phase == VISUALISE:
        for option in CODE_DRAWING:
            _option(section, item, option)


def _operation(section: Section, item: Node, op: str, phase: str) -> None:
    operation = OPERATIONS[phase].get(op)
    if operation is None:
        elsewhere = next((other for other, known in OPERATIONS.items() if op in known), "")
        step = f"it belongs into {elsewhere}" if elsewhere else suggestion(op, OPERATIONS[phase], _all(phase))
        section.wrong("op", Reason.UNKNOWN_NAME, f"there is no step {shown(op)!r} {_WHERE[phase]}", step)
        return
    for option in operation.options:
        _option(section, item, option)
    section.end()
    _together(section, item, operation)


def _all(phase: str) -> str:
    return f"one of {', '.join(sorted(OPERATIONS[phase]))}"


def _option(section: Section, item: Node, option: Option) -> None:
    node = section.node_of(option.name)
    if node is None:
        if option.is_required:
            what = f" ({option.what})" if option.what else ""
            section.wrong(
                option.name, Reason.MISSING_FIELD, f"it needs {option.name}{what}", f"{option.name}: …"
            )
        return
    wrong = mistake(option, node.plain())
    if wrong:
        said = node.scalar if isinstance(node.scalar, str) else ""
        section.wrong(option.name, Reason.BAD_VALUE, wrong, suggestion(said, option.words))


def _together(section: Section, item: Node, operation: Operation) -> None:
    """What one option says of another."""
    given = {name: node.plain() for name, node in (item.fields or {}).items()}
    on, axes, shape = (_list(given.get(name)) for name in ("on", "axes", "shape"))
    if operation.name == "one_hot" and not given.get("size") and not given.get("categories"):
        section.wrong("size", Reason.MISSING_FIELD, "it needs size, or categories", "size: 10")
    if operation.name == "transpose" and len(set(map(str, axes))) < len(axes):
        section.wrong("axes", Reason.BAD_VALUE, "an axis is there twice", "each axis once, from 0")
    if operation.name == "reshape" and shape.count(-1) > 1:
        section.wrong("shape", Reason.BAD_VALUE, "-1 is there twice", "at most one size can be found out")
    if operation.name == "normalize" and (given.get("std") == 0 or 0 in _list(given.get("std"))):
        section.wrong("std", Reason.BAD_VALUE, "nothing can be divided by 0")
    if given.get("to") and len(on) > 1:
        section.wrong(
            "to", Reason.CONTRADICTION, "several values cannot have one name", "one step for each value"
        )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _no_name_twice(steps: Sequence[Step], items: Sequence[tuple[Node, Position]], findings: Findings) -> None:
    seen: set[str] = set()
    for step, (_, at) in zip(steps, items, strict=True):
        name = drawing_name(step)
        if name in seen:
            findings.add(
                Reason.DUPLICATE_FIELD,
                f"two drawings are called {shown(name)!r}",
                at,
                "give one of them a name: …",
            )
        seen.add(name)


def drawing_name(step: Step) -> str:
    """Of the output `viz:<name>` that a step of `visualise` makes."""
    return str(options_of(step).get("name") or step.op or step.code.rpartition(":")[2])


def options_of(step: Step) -> Mapping[str, Any]:
    """As they are given, over the defaults of its operation."""
    known = next((phase[step.op] for phase in OPERATIONS.values() if step.op in phase), None)
    return {**(known.defaults() if known is not None else {}), **dict(step.options)}


def requirements_of(steps: Sequence[Step], drawings: Sequence[Step]) -> tuple[str, ...]:
    """What a frame's environment needs for them."""
    found: list[str] = []
    for step in steps:
        operation = OPERATIONS["pre"].get(step.op)
        found += operation.requirements if operation is not None else ()
    for step in drawings:
        found += _drawing_requirements(step)
    return tuple(dict.fromkeys(found))


def _drawing_requirements(step: Step) -> tuple[str, ...]:
    kind = options_of(step).get("as")
    if step.code:
        return {HTML: SANITISER, PNG: PILLOW, None: SANITISER}.get(kind, CHARTS if kind != VEGA_LITE else ())
    operation = OPERATIONS[VISUALISE].get(step.op)
    return operation.requirements if operation is not None and kind != VEGA_LITE else ()
