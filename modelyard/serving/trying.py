"""A loaded component run on examples: what is seen of its types, its shapes, its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from modelyard.serving import examples
from modelyard.serving.calls import Answer, Call, described
from modelyard.serving.errors import ComponentUnfit, InvalidValue
from modelyard.serving.examples import Example
from modelyard.serving.golden import same
from modelyard.serving.launch import Launch, Settings, Spec
from modelyard.serving.loaders import Findings, Model
from modelyard.serving.proving import Proved
from modelyard.serving.running import Runner
from modelyard.serving.tensors import from_wire, to_wire

Fit = tuple[str, tuple[int, ...]]
TRIES_MOST = 16
PARTS_MOST = 32
"""Of a stream, which may have no end."""
_OF_VALUES = (ValueError, LookupError, InvalidValue)
"""What a component raises of values that it does not like."""


@dataclass(slots=True)
class Tried:
    """What came out. Without a call: no example was answered, and the warnings say why."""

    facts: Findings = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    call: Call | None = None
    answer: Answer | None = None
    is_repeatable: bool = False


class _Enough(Exception):
    """Of a stream."""


def completed(settings: Settings, known: Findings) -> Settings:
    """With inputs, their types and shapes as the loaded thing says them, where model.yaml does not; else the same."""
    names = known.get("inputs")
    inputs = settings.inputs or tuple(
        Spec(str(name), plain={"name": name}) for name in (names[0] if names else ())
    )
    found = tuple(_completed(one, known) for one in inputs)
    return settings if found == settings.inputs else replace(settings, inputs=found)


def fits_of(model: Model) -> list[Fit]:
    """What its weights would take."""
    return list(getattr(model, "fits", list)())


def run(launch: Launch, proved: Proved, known: Findings, fits: Sequence[Fit]) -> Tried:
    """`known`: what the loaded thing says of itself.

    Raises ServingError: nothing that was tried is answered, and its types or shapes cannot be known without it.
    """
    specs, tried = launch.settings.inputs, Tried()
    own = examples.own(launch.component, specs)
    is_known = all(one.datatype and one.shape is not None for one in specs) and bool(specs)
    given = [own] if own is not None else list(_candidates(specs, fits))[:TRIES_MOST]
    if not given and not specs and "inputs" in known and not known["inputs"][0]:
        given = [{}]
    if not given:
        name = next((one.name for one in specs if not one.datatype or one.shape is None), "")
        where = f"inputs[{name}].shape" if name else "inputs"
        raise ComponentUnfit(
            "its files do not say it, and there is no example to try: declare it, or put one into examples/",
            where,
        )
    first: BaseException | None = None
    for example in given:
        try:
            _answered(launch, proved.model, example, tried)
        except Exception as error:
            # One that was made may not fit; the first is the likeliest.
            first = first or error
            continue
        _look(launch, proved.model, example, tried, is_known)
        return tried
    assert first is not None
    if own is not None or not is_known or not isinstance(first, _OF_VALUES):
        raise first
    tried.warnings.append(
        f"it was loaded, and no example that was made of its shapes is answered ({described(first)[2]}): put one into"
        " examples/ to have it proved"
    )
    return tried


def _completed(spec: Spec, known: Findings) -> Spec:
    datatype = known.get(f"inputs[{spec.name}].datatype")
    shape = known.get(f"inputs[{spec.name}].shape")
    if (spec.datatype or datatype is None) and (spec.shape is not None or shape is None):
        return spec
    plain = dict(spec.plain)
    if not spec.datatype and datatype is not None:
        plain["datatype"] = datatype[0]
    if spec.shape is None and shape is not None:
        plain["shape"] = list(shape[0])
    return Spec.of(plain)


def _candidates(specs: Sequence[Spec], fits: Sequence[Fit]) -> Iterator[Example]:
    if not specs:
        return
    yield from examples.made(specs, 1)
    for datatype, shape in fits:
        guessed = [
            replace(
                one,
                datatype=one.datatype or datatype,
                shape=one.shape if one.shape is not None else (-1, *shape),
            )
            for one in specs
        ]
        yield from examples.made(guessed, 1)


def _answered(launch: Launch, model: Model, example: Example, tried: Tried) -> None:
    call, runner = _call(example), Runner(_open(launch), model)
    tried.answer, tried.call = _run(runner, call), call
    tried.is_repeatable = _is_same(tried.answer, _run(runner, call))
    if not tried.is_repeatable:
        tried.warnings.append("it answers the same question differently: there is no golden output")


def _look(launch: Launch, model: Model, example: Example, tried: Tried, is_known: bool) -> None:
    """With two rows, and with other sizes where nobody knows them."""
    assert tried.answer is not None
    runner, rows = Runner(_open(launch), model), _rows(example)
    one, two, why, wrong = _by_rows(runner, example, tried.answer, rows)
    shapes = {name: [*values.shape] for name, (_, values, _) in example.items()}
    specs = {spec.name: spec for spec in launch.settings.inputs}
    free: set[tuple[str, int]] = set()
    if not is_known:
        free = set(_free_axes(runner, example, specs))
    tried.facts["inputs"] = (list(example), "the example that it answered")
    for name, (datatype, _, _) in example.items():
        spec = specs.get(name)
        shape = list(spec.shape) if spec is not None and spec.shape is not None else shapes[name]
        if spec is None or spec.shape is None:
            shape = [-1 if (name, axis) in free else size for axis, size in enumerate(shape)]
            shape[:1] = [-1] if two is not None and shape else shape[:1]
        tried.facts[f"inputs[{name}].datatype"] = (datatype, "it was answered")
        tried.facts[f"inputs[{name}].shape"] = (shape, why)
    _outputs(one, two, why, tried)
    _batches(launch, one, two, wrong, tried)


def _by_rows(
    runner: Runner, example: Example, answer: Answer, rows: int
) -> tuple[Answer, Answer | None, str, str]:
    """Its answers to one row and to two, if it takes both; in words what it took, and why not two."""
    if not rows:
        return answer, None, "it ran on an example", "its inputs have no rows"
    one, wrong = (answer, "") if rows == 1 else _attempt(runner, examples.with_rows(example, 1))
    if one is None:
        return answer, None, f"it ran with {rows} rows, not with one", wrong
    two, wrong = _attempt(runner, examples.with_rows(example, 2))
    if two is None:
        return one, None, "it ran with one row, not with two", wrong
    return one, two, "it ran with one row and with two", ""


def _outputs(one: Answer, two: Answer | None, why: str, tried: Tried) -> None:
    several = {str(meta["name"]): meta["shape"] for meta in two.outputs} if two is not None else {}
    tried.facts["outputs"] = ([str(meta["name"]) for meta in one.outputs], "what it answered")
    for meta in one.outputs:
        name, shape = str(meta["name"]), list(meta["shape"])
        other = several.get(name, shape)
        if len(other) == len(shape):
            shape = [size if size == again else -1 for size, again in zip(shape, other, strict=True)]
        tried.facts[f"outputs[{name}].datatype"] = (meta["datatype"], "what it answered")
        tried.facts[f"outputs[{name}].shape"] = (shape, why)


def _batches(launch: Launch, one: Answer, two: Answer | None, wrong: str, tried: Tried) -> None:
    """Whether rows of several callers may be computed as one."""
    if two is None:
        tried.facts["serving.max_batch"] = (0, f"two rows at once are not computed: {wrong}"[:300])
        return
    arrays = [(from_wire(meta, buffer), str(meta["name"])) for meta, buffer in _pairs(two)]
    unlike = [name for array, name in arrays if not array.ndim or len(array) != 2]
    if unlike:
        tried.facts["serving.max_batch"] = (0, f"{unlike[0]} has no row for each row that was given")
        return
    alone = {str(meta["name"]): from_wire(meta, buffer) for meta, buffer in _pairs(one)}
    for meta, _ in _pairs(two):
        name = str(meta["name"])
        array = next(array for array, known in arrays if known == name)
        if tried.is_repeatable and not same(array[:1], alone[name][:1], str(meta["datatype"])):
            tried.facts["serving.max_batch"] = (0, f"{name} of a row depends on the rows beside it")
            return


def _free_axes(runner: Runner, example: Example, specs: dict[str, Spec]) -> Iterator[tuple[str, int]]:
    """Axes, the rows' aside, that may have another size."""
    for name, (datatype, values, content_type) in example.items():
        spec = specs.get(name)
        if datatype == "BYTES" or (spec is not None and spec.shape is not None):
            continue
        for axis in range(1, values.ndim):
            wider = np.concatenate([values, values], axis)
            answer, _ = _attempt(runner, {**example, name: (datatype, wider, content_type)})
            if answer is not None:
                yield name, axis


def _rows(example: Example) -> int:
    """How many it has; 0: its inputs do not agree, or have none."""
    sizes = {len(values) if values.ndim else 0 for _, values, _ in example.values()}
    return sizes.pop() if len(sizes) == 1 else 0


def _attempt(runner: Runner, example: Example) -> tuple[Answer | None, str]:
    try:
        return _run(runner, _call(example)), ""
    except Exception as error:
        # That is what was to be found out.
        return None, described(error)[2]


def _run(runner: Runner, call: Call) -> Answer:
    parts: list[Answer] = []

    def take(part: Answer) -> None:
        parts.append(part)
        if len(parts) >= PARTS_MOST:
            raise _Enough

    try:
        answer = runner.run(call, take)
    except _Enough:
        return parts[0]
    # Of a stream the first part stands for all.
    return parts[0] if parts else answer


def _call(example: Example) -> Call:
    inputs: list[dict[str, Any]] = []
    buffers = []
    for name, (datatype, values, content_type) in example.items():
        meta, buffer = to_wire(name, values, Spec(name, datatype))
        inputs.append({**meta, "parameters": {"content_type": content_type}} if content_type else meta)
        buffers.append(bytearray(buffer))
    return Call("probe", inputs, buffers)


def _open(launch: Launch) -> Launch:
    """Without a size for the rows: whether two are computed is what is looked at."""
    inputs = tuple(
        replace(one, shape=None) if one.datatype != "BYTES" else one for one in launch.settings.inputs
    )
    return replace(launch, settings=replace(launch.settings, inputs=inputs))


def _is_same(one: Answer, other: Answer) -> bool:
    if one.outputs != other.outputs:
        return False
    pairs = zip(_pairs(one), _pairs(other), strict=True)
    return all(
        same(from_wire(meta, a), from_wire(meta, b), str(meta["datatype"])) for (meta, a), (_, b) in pairs
    )


def _pairs(answer: Answer) -> list[tuple[dict[str, Any], Any]]:
    return list(zip(answer.outputs, answer.buffers, strict=True))
