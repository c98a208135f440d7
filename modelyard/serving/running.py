"""One call, or several at once: decode, steps before, compute, steps after, encode, draw."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import numpy as np

from modelyard.serving import current
from modelyard.serving.calls import Answer, Call, DeadlinePassed
from modelyard.serving.current import Cancelled
from modelyard.serving.errors import AnswerTooLarge, ComponentUnfit, InvalidValue
from modelyard.serving.launch import Launch, Spec
from modelyard.serving.loaders import Model, Stream
from modelyard.serving.tensors import from_wire, to_wire
from modelyard.serving.visualising import Visualiser

Values = dict[str, Any]
Step = Callable[[Mapping[str, Any], Mapping[str, Any]], Values]
SendPart = Callable[[Answer], None]
Outcome = Answer | BaseException


class Runner:
    """A loaded component with what stands before and after it. Called by several threads at once."""

    def __init__(self, launch: Launch, model: Model) -> None:
        settings = launch.settings
        self._model = model
        self._settings = settings
        self._bytes_most = launch.answer_bytes_most
        self._inputs = {one.name: one for one in settings.inputs}
        self._outputs = {one.name: one for one in settings.outputs}
        self._needed = [one.name for one in settings.inputs if not one.is_optional]
        self._pre = _pipeline(launch, "pre")
        self._post = _pipeline(launch, "post")
        self._visualiser = Visualiser(launch)

    def run(self, call: Call, send_part: SendPart | None = None) -> Answer:
        """The answer of one call. A stream goes to `send_part`, without one its last part is the answer.

        Raises ServingError, and whatever the component raises.
        """
        clock = _Clock(call)
        with _as_current(call):
            given = self._given(call)
            values = self._pre(given, call.parameters) if self._pre else given
            clock.lap("input")
            found = self._model.compute(values, self._wanted(call))
            if isinstance(found, Stream):
                return self._streamed(call, given, found, send_part, clock)
            clock.lap("compute")
            return self._answer(call, given, found, clock)

    def run_batch(self, calls: Sequence[Call]) -> list[Outcome]:
        """The answers of several, in their order; those that fit together are computed as one."""
        outcomes: dict[int, Outcome] = {}
        groups: dict[Any, list[tuple[int, _Prepared]]] = {}
        for place, call in enumerate(calls):
            prepared = self._prepared(call)
            if isinstance(prepared, BaseException):
                outcomes[place] = prepared
            else:
                groups.setdefault(prepared.key, []).append((place, prepared))
        for group in groups.values():
            found = self._together([one for _, one in group])
            outcomes |= zip((place for place, _ in group), found, strict=True)
        return [outcomes[place] for place in range(len(calls))]

    def _prepared(self, call: Call) -> _Prepared | BaseException:
        clock = _Clock(call)
        try:
            with _as_current(call):
                given = self._given(call)
                values = self._pre(given, call.parameters) if self._pre else given
        except Exception as error:
            # What is wrong with one call is its own: the others are computed.
            return error
        clock.lap("input")
        return _Prepared(call, given, values, clock)

    def _together(self, group: Sequence[_Prepared]) -> list[Outcome]:
        if len(group) == 1 or group[0].rows is None:
            return [self._alone(one) for one in group]
        rows = [one.rows or 0 for one in group]
        names = list(group[0].values)
        values = {name: np.concatenate([one.values[name] for one in group]) for name in names}
        # Nobody's cancellation ends what is computed for all.
        shared = Call(group[0].call.id, (), (), parameters=group[0].call.parameters)
        try:
            with _as_current(shared):
                found = self._model.compute(values, self._wanted_of([one.call for one in group]))
                parts = None if isinstance(found, Stream) else _split(found, rows)
        except Exception as error:  # whatever a component raises
            if not self._settings.is_idempotent:
                return [error] * len(group)
            # One of them may be what the component does not take.
            return [self._alone(one) for one in group]
        if parts is None:
            return [self._alone(one) for one in group]
        return [self._finished(one, part) for one, part in zip(group, parts, strict=True)]

    def _alone(self, one: _Prepared) -> Outcome:
        try:
            with _as_current(one.call):
                found = self._model.compute(one.values, self._wanted(one.call))
        except Exception as error:  # a component, or a step, may raise anything: its call ends with it
            return error
        if isinstance(found, Stream):
            return ComponentUnfit(
                "it streams, and what streams is not computed in batches", "serving.max_batch"
            )
        return self._finished(one, found)

    def _finished(self, one: _Prepared, found: Mapping[str, Any]) -> Outcome:
        one.clock.lap("compute")
        try:
            with _as_current(one.call):
                return self._answer(one.call, one.given, found, one.clock)
        except Exception as error:  # a component, or a step, may raise anything: its call ends with it
            return error

    def _given(self, call: Call) -> Values:
        """Inputs as the steps before, or the component, take them. Raises InvalidValue."""
        self._check_outputs(call)
        found: Values = {}
        for meta, buffer in zip(call.inputs, call.buffers, strict=True):
            name = meta.get("name")
            spec = self._inputs.get(name) if isinstance(name, str) else None
            if spec is None and self._inputs:
                raise InvalidValue(
                    f"there is no input {name!r}; there are {', '.join(self._inputs)}", "inputs"
                )
            if name in found:
                raise InvalidValue(f"input {name} was given twice", "inputs")
            content_type = str((meta.get("parameters") or {}).get("content_type") or "")
            is_text = meta.get("datatype") == "BYTES"
            if spec is None or not is_text or not (content_type or spec.codec != "tensor"):
                found[str(name)] = from_wire(meta, buffer, spec)
                continue
            from modelyard.serving.codecs import decode

            found[str(name)] = decode(spec.plain, from_wire(meta, buffer), content_type)
        missing = [name for name in self._needed if name not in found]
        if missing:
            raise InvalidValue(f"there is no {', '.join(missing)}", f"inputs[{missing[0]}]")
        return found

    def _check_outputs(self, call: Call) -> None:
        """Before it is computed, where what can be asked for is known: steps after may add to what is declared."""
        if self._post or not self._outputs:
            return
        for name in call.outputs or ():
            if name not in self._outputs and not self._visualiser.is_drawing(name):
                raise InvalidValue(
                    f"there is no output {name!r}; there are {', '.join(self._outputs)}", "outputs"
                )

    def _wanted(self, call: Call) -> list[str] | None:
        return self._wanted_of([call])

    def _wanted_of(self, calls: Sequence[Call]) -> list[str] | None:
        """Of the component: all, where steps or drawings may need any."""
        if self._post or self._visualiser.is_any or any(call.outputs is None for call in calls):
            return None
        names = {name for call in calls for name in call.outputs or () if not Visualiser.is_drawing(name)}
        return sorted(names) or None

    def _answer(self, call: Call, given: Values, found: Mapping[str, Any], clock: _Clock) -> Answer:
        outputs = self._post(found, call.parameters) if self._post else dict(found)
        answer = self._encoded(call, outputs)
        self._visualiser.draw(call, given, outputs, answer)
        clock.lap("output")
        answer.times_ns = clock.times_ns
        return answer

    def _encoded(self, call: Call, outputs: Values) -> Answer:
        answer, size = Answer(), 0
        for name in self._names(call, outputs):
            meta, buffer = self._output(name, outputs[name])
            size += memoryview(buffer).nbytes
            if size > self._bytes_most:
                raise AnswerTooLarge(
                    f"the answer has more than {self._bytes_most} bytes: ask for fewer rows or fewer outputs",
                    "outputs",
                )
            answer.outputs.append(meta)
            answer.buffers.append(buffer)
        return answer

    def _names(self, call: Call, outputs: Values) -> list[str]:
        # Steps after may add to what the component itself is declared to give.
        declared = [name for name in self._outputs if name in outputs]
        known = list(dict.fromkeys([*declared, *outputs])) if self._post or not declared else declared
        wanted = [name for name in call.outputs or () if not self._visualiser.is_drawing(name)]
        if not wanted:
            return known if call.outputs is None or not self._visualiser.is_asked(call) else []
        for name in wanted:
            if name not in outputs:
                raise InvalidValue(f"there is no output {name!r}; there are {', '.join(known)}", "outputs")
        return wanted

    def _output(self, name: str, value: Any) -> tuple[dict[str, Any], Any]:
        spec = self._outputs.get(name)
        if spec is None or not spec.datatype or _is_plain(spec, value):
            return to_wire(name, value, spec)
        from modelyard.serving.codecs import encode

        array, parameters = encode(spec.plain, value)
        meta, buffer = to_wire(name, array, spec)
        return ({**meta, "parameters": parameters} if parameters else meta), buffer

    def _streamed(
        self, call: Call, given: Values, found: Stream, send_part: SendPart | None, clock: _Clock
    ) -> Answer:
        """Each part is sent as it comes; between them a call that nobody waits for ends."""
        last = Answer()
        with closing(found.parts) if hasattr(found.parts, "close") else _nothing():  # type: ignore[type-var]
            for part in found.parts:
                clock.lap("compute")
                _check_wanted(call)
                last = self._answer(call, given, part, clock)
                if send_part is not None:
                    send_part(last)
        if send_part is None:
            return last
        return Answer(times_ns=clock.times_ns, is_last=True)


class _Prepared:
    """A call of a batch, after its steps before."""

    __slots__ = ("call", "clock", "given", "key", "rows", "values")

    def __init__(self, call: Call, given: Values, values: Values, clock: _Clock) -> None:
        self.call, self.given, self.values, self.clock = call, given, values, clock
        arrays = {
            name: value for name, value in values.items() if isinstance(value, np.ndarray) and value.ndim
        }
        sizes = {len(value) for value in arrays.values()}
        self.rows = sizes.pop() if len(arrays) == len(values) and len(sizes) == 1 else None
        shapes = tuple(sorted((name, value.dtype.str, value.shape[1:]) for name, value in arrays.items()))
        self.key = (
            (shapes, json.dumps(call.parameters, sort_keys=True)) if self.rows is not None else (id(call),)
        )


class _Clock:
    """How long a call waited, and how long each of its parts took."""

    __slots__ = ("_last_ns", "times_ns")

    def __init__(self, call: Call) -> None:
        self._last_ns = time.monotonic_ns()
        call.begun_ns = self._last_ns
        wait = self._last_ns - call.received_ns if call.received_ns else 0
        self.times_ns = {"wait": wait, "input": 0, "compute": 0, "output": 0}

    def lap(self, name: str) -> None:
        now = time.monotonic_ns()
        self.times_ns[name] += now - self._last_ns
        self._last_ns = now


@contextmanager
def _as_current(call: Call) -> Iterator[None]:
    token = current.CALL.set(call)
    try:
        yield
    finally:
        current.CALL.reset(token)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _check_wanted(call: Call) -> None:
    if call.is_cancelled:
        raise Cancelled("it was cancelled")
    if call.deadline_ns and time.monotonic_ns() >= call.deadline_ns:
        raise DeadlinePassed("its deadline passed while it ran")


def _split(found: Mapping[str, Any], rows: Sequence[int]) -> list[Values] | None:
    """Each call's own rows; None: an output has other rows than the inputs."""
    total, ends = sum(rows), np.cumsum(rows).tolist()
    arrays = {name: np.asarray(value) for name, value in found.items()}
    if any(not value.ndim or len(value) != total for value in arrays.values()):
        return None
    begins = [0, *ends[:-1]]
    return [
        {name: value[begin:end] for name, value in arrays.items()}
        for begin, end in zip(begins, ends, strict=True)
    ]


def _is_plain(spec: Spec, value: Any) -> bool:
    """An array of numbers, or of texts as they are; all else is the codec's."""
    if not isinstance(value, np.ndarray):
        return False
    return (
        spec.datatype != "BYTES"
        or spec.codec == "tensor"
        or (spec.codec == "text" and value.dtype.kind in "OSU")
    )


def _pipeline(launch: Launch, phase: str) -> Step | None:
    steps = launch.settings.pre if phase == "pre" else launch.settings.post
    if not steps:
        return None
    from modelyard.serving.steps import prepare

    tensors = launch.settings.inputs if phase == "pre" else launch.settings.of_component().outputs
    return prepare(steps, launch.component, phase=phase, tensors=[one.plain for one in tensors])
