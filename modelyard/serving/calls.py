"""Calls as they come over the wire, and their answers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from modelyard.serving.current import Cancelled
from modelyard.serving.errors import InvalidValue, ServingError
from modelyard.serving.wire import Buffer, Header, Message

Id = str | int
_TEXT_MOST = 4_000


class DeadlinePassed(ServingError):
    """Its deadline has passed."""

    code = "DEADLINE_EXCEEDED"


@dataclass(slots=True, eq=False)
class Call:
    """One call. `is_cancelled` is set by whoever hears of it, and read by whoever computes."""

    id: Id
    inputs: Sequence[Mapping[str, Any]]
    buffers: Sequence[Buffer]
    outputs: Sequence[str] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    received_ns: int = 0
    deadline_ns: int = 0
    is_cancelled: bool = False
    begun_ns: int = 0

    def check_wanted(self) -> None:
        """Raises Cancelled or DeadlinePassed: nobody waits for it any more."""
        if self.is_cancelled:
            raise Cancelled("it was cancelled before it began")
        if self.deadline_ns and time.monotonic_ns() >= self.deadline_ns:
            raise DeadlinePassed("its deadline passed before it began")


@dataclass(slots=True)
class Answer:
    """Outputs and their bytes."""

    outputs: list[dict[str, Any]] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    times_ns: dict[str, int] = field(default_factory=dict)
    is_last: bool = False
    """Of a stream: parts came before."""

    def header(self, kind: str, id_: Id) -> Header:
        """Of a `result` or a `part`."""
        header: Header = {"kind": kind, "id": id_, "outputs": self.outputs, "times_ns": self.times_ns}
        if self.parameters:
            header["parameters"] = self.parameters
        if self.is_last:
            header["is_last"] = True
        return header


def failure_header(id_: Id, error: BaseException) -> Header:
    """Of a `failure`."""
    code, field_, message = described(error)
    return {"kind": "failure", "id": id_, "code": code, "field": field_, "message": message}


def described(error: BaseException) -> tuple[str, str, str]:
    """Code, field and message of anything that loading or computing raises.

    A ValueError of a library or of the component's code is about the values that the caller gave.
    """
    if isinstance(error, ServingError):
        return error.code, error.field, error.message[:_TEXT_MOST]
    text = " ".join(str(error).split())[:_TEXT_MOST]
    if isinstance(error, MemoryError):
        return (
            "RESOURCE_EXHAUSTED",
            "runtime.memory",
            f"there is not enough memory: {text}" if text else "no memory",
        )
    if isinstance(error, ValueError):
        return "INVALID_ARGUMENT", "", text or "a value does not fit"
    return "INTERNAL", "", f"{type(error).__name__}: {text}{_place(error)}"


def _place(error: BaseException) -> str:
    """Where it was raised, as far as that is the component's own code."""
    trace, found = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if "site-packages" not in code.co_filename and "modelyard" not in code.co_filename:
            found = f" (line {trace.tb_lineno} of {code.co_filename.rpartition('/')[2]})"
        trace = trace.tb_next
    return found


def calls_of(message: Message) -> list[Call | tuple[Id, ServingError]]:
    """The calls of a `call` or a `batch`; of what is no call its number and why. Raises ValueError: not even that."""
    header = message.header
    given = [header] if header["kind"] == "call" else header.get("calls")
    if not isinstance(given, list):
        raise ValueError("a batch has calls")
    buffers, now_ns = iter(message.buffers), time.monotonic_ns()
    return [_call(one, buffers, now_ns) for one in given]


def _call(given: Any, buffers: Iterator[memoryview], now_ns: int) -> Call | tuple[Id, ServingError]:
    id_ = given.get("id") if isinstance(given, dict) else None
    if not isinstance(id_, (str, int)) or isinstance(id_, bool):
        raise ValueError("a call has an id")
    inputs = given.get("inputs") or []
    if not isinstance(inputs, list) or not all(isinstance(one, dict) for one in inputs):
        raise ValueError("inputs are a list of objects")
    own = list(islice(buffers, len(inputs)))
    if len(own) != len(inputs):
        return id_, InvalidValue(f"it has {len(inputs)} inputs and {len(own)} buffers", "inputs")
    outputs, parameters, left_ms = (
        given.get("outputs"),
        given.get("parameters") or {},
        given.get("left_ms") or 0,
    )
    if outputs is not None and not (
        isinstance(outputs, list) and all(isinstance(one, str) for one in outputs)
    ):
        return id_, InvalidValue("outputs are a list of names", "outputs")
    if not isinstance(parameters, dict):
        return id_, InvalidValue("parameters are an object", "parameters")
    if not isinstance(left_ms, (int, float)) or left_ms < 0:
        return id_, InvalidValue("left_ms is 0 or more", "left_ms")
    return Call(
        id=id_,
        inputs=inputs,
        buffers=own,
        outputs=outputs or None,
        parameters=parameters,
        received_ns=now_ns,
        deadline_ns=now_ns + int(left_ms * 1e6) if left_ms else 0,
    )
