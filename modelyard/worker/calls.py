"""Calls of operators, one at a time on the main thread.

Owns the way from a RunOperator to the fields of its report, and the interruption of a call.

How a call is interrupted: a coroutine by asyncio's cancellation, a plain function by `TaskCancelled`, which a
signal handler raises between two of its instructions. Code that hangs in a C library, catches
BaseException or computes without ever awaiting stays; ending it is the agent's part, who kills the worker
after the grace.
"""

import base64
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from resource import RUSAGE_SELF, getrusage
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from modelyard.catalog.registry import OperatorNotFound, find
from modelyard.context import Context, Source, TaskCancelled, YardAccess
from modelyard.operator.declaration import Operator
from modelyard.operator.validation import validate_params
from modelyard.worker.failures import error_of, setup_error
from modelyard.worker.frames import Message
from modelyard.worker.processes.ending import end_children, has_children
from modelyard.worker.results import report_result

if TYPE_CHECKING:
    import asyncio

Progress = Callable[[str, float, str], None]
# Key, revision, and what is wrong with a change of parameters ("": nothing).
Modified = Callable[[str, int, str], None]


class BadCall(ValueError):
    """The call cannot be made as it was asked for."""


class Call(NamedTuple):
    """One running call."""

    key: str
    operator: Operator
    context: Context


class Caller:
    def __init__(self, on_progress: Progress, on_modified: Modified) -> None:
        """Made on the main thread; installs the handler of SIGUSR1."""
        self._on_progress = on_progress
        self._on_modified = on_modified
        # Guards the step from preparing a call to running it, and the changes that came before it.
        self._changing = threading.Lock()
        self._changes: list[tuple[Mapping[str, Any], int]] = []
        self._attachments: Mapping[str, str] | None = None
        self._operators: dict[str, Operator] = {}
        self._main = threading.get_ident()
        self._interruptible = False
        self._key = ""
        self._cancelled_key = ""
        self._call: Call | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        signal.signal(signal.SIGUSR1, self._on_signal)

    def run(self, key: str, work: Message) -> Message:
        """Makes the call; the fields of its report. Never raises for what user code does."""
        cpu_start = time.process_time()
        self._key = key
        try:
            fields = self._run(key, work)
        except TaskCancelled:
            fields = {"error": {"cause": "cancelled"}}
        finally:
            self._interruptible = False
            with self._changing:
                self._call = None
                self._key = ""
                early, self._changes = self._changes, []
                self._attachments = None
        for _, revision in early:
            self._on_modified(key, revision, "the call has failed before it began")
        if has_children():
            end_children(_resource_tracker())
        fields["cpu_time_s"] = round(time.process_time() - cpu_start, 6)
        fields["memory_peak_bytes"] = getrusage(RUSAGE_SELF).ru_maxrss * 1024
        return fields

    def interrupt(self, key: str) -> None:
        """Asks the call to end; from another thread. Nothing happens if it is not the running one."""
        self._cancelled_key = key
        call, task, loop = self._call, self._task, self._loop
        if call is not None and call.key == key:
            call.context.cancel()
        if self._key == key:
            if task is not None and loop is not None:
                loop.call_soon_threadsafe(task.cancel)
            signal.pthread_kill(self._main, signal.SIGUSR1)

    def modify(self, key: str, params: Mapping[str, Any], revision: int) -> bool:
        """Gives the call new parameters, from another thread; False: it is not running. Answered by
        ``on_modified``, of a call that is still being prepared when it begins."""
        with self._changing:
            call = self._call
            if call is None and self._key == key:
                self._changes.append((params, revision))
                return True
        if call is None or call.key != key:
            return False
        self._on_modified(key, revision, self._change(call, params, revision))
        return True

    def attach(self, key: str, attachments: Mapping[str, str]) -> str | None:
        """Tells the call what is attached by now, from another thread: what is wrong, "" for nothing, None: it is not
        running."""
        with self._changing:
            call = self._call
            if call is None and self._key == key:
                # It is still being prepared, and finds them when it begins.
                self._attachments = attachments
                return ""
        if call is None or call.key != key:
            return None
        if not call.operator.signature.context_name:
            return _deaf(call.operator)
        if call.operator.is_async and self._loop is not None:
            self._loop.call_soon_threadsafe(call.context.change_attachments, attachments)
        else:
            call.context.change_attachments(attachments)
        return ""

    def _change(self, call: Call, params: Mapping[str, Any], revision: int) -> str:
        if not call.operator.signature.context_name:
            return _deaf(call.operator)
        if revision == call.context.revision:
            # Asked again, because the answer was lost on its way.
            return ""
        if revision < call.context.revision:
            return f"revision {revision} is not newer than {call.context.revision}"
        merged = {**call.context.params, **params}
        problems = validate_params(call.operator.params_schema, merged)
        if problems:
            return problems[0].message
        if call.operator.is_async and self._loop is not None:
            self._loop.call_soon_threadsafe(call.context.change_params, merged, revision)
        else:
            call.context.change_params(merged, revision)
        return ""

    def _on_signal(self, _number: int, _frame: object) -> None:
        if self._interruptible and self._cancelled_key == self._key:
            self._interruptible = False
            raise TaskCancelled

    def _run(self, key: str, work: Message) -> Message:
        try:
            # Finding the operator may import the user's modules, which can take long.
            self._enter(key)
            operator = self._find(work["operator"])
            self._interruptible = False
            sources = _sources(operator, work)
            context = _context(key, work, sources, self._on_progress)
            self._apply_early_changes(key, operator, context)
            arguments = _arguments(operator, context, sources)
        except (OperatorNotFound, BadCall) as error:
            return {"error": setup_error(str(error))}
        except TaskCancelled:
            raise
        except BaseException as error:  # a user's module may raise anything, and is told what
            return {"error": {**error_of(error), "cause": "setup"}}
        try:
            value = (
                self._await(key, operator, arguments)
                if operator.is_async
                else self._invoke(key, operator, arguments)
            )
            ports = operator.declared_outputs
            return report_result(value, context, ports)
        except TaskCancelled:
            raise
        except BaseException as error:  # so may what it does
            self._interruptible = False
            if _is_cancellation(error) and self._cancelled_key == key:
                raise TaskCancelled from error
            return {"error": error_of(error)}

    def _apply_early_changes(self, key: str, operator: Operator, context: Context) -> None:
        """Makes the call the running one, with the changes that came while it was prepared."""
        with self._changing:
            early, self._changes = self._changes, []
            for params, revision in early:
                merged = {**context.params, **params}
                problems = validate_params(operator.params_schema, merged)
                if not problems:
                    context.change_params(merged, revision)
                self._on_modified(key, revision, problems[0].message if problems else "")
            if self._attachments is not None:
                context.change_attachments(self._attachments)
                self._attachments = None
            self._call = Call(key, operator, context)

    def _invoke(self, key: str, operator: Operator, arguments: dict[str, Any]) -> Any:
        self._enter(key)
        value = operator.function(**arguments)
        self._interruptible = False
        return value

    def _await(self, key: str, operator: Operator, arguments: dict[str, Any]) -> Any:
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        loop = self._loop
        self._task = task = loop.create_task(operator.function(**arguments))
        if self._cancelled_key == key:
            task.cancel()
        try:
            return loop.run_until_complete(task)
        finally:
            self._task = None
            left = asyncio.all_tasks(loop)
            for other in left:
                other.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    def _enter(self, key: str) -> None:
        """From here on the main thread may be interrupted."""
        self._interruptible = True
        if self._cancelled_key == key:
            self._interruptible = False
            raise TaskCancelled

    def _find(self, name: str) -> Operator:
        operator = self._operators.get(name)
        if operator is None:
            operator = find(name)
            # Reads the signature now, so that one that cannot be described fails as set-up.
            _ = operator.params_schema
            self._operators[name] = operator
        return operator


def _deaf(operator: Operator) -> str:
    return f"operator {operator.name!r} takes no Context, so it cannot see a change while it runs"


def _context(key: str, work: Message, sources: dict[str, Source], on_progress: Progress) -> Context:
    task, access = work.get("task", {}), work.get("access")
    return Context(
        task_id=task.get("task_id", ""),
        attempt=int(task.get("attempt", 0)),
        epoch=int(task.get("epoch", 0)),
        account=task.get("account", ""),
        array_index=int(task.get("array_index", 0)),
        params=_params(work),
        sources=sources,
        attachments=work.get("attachments"),
        directory=work.get("directory", ""),
        report=lambda ratio, message: on_progress(key, ratio, message),
        access=YardAccess(**access) if access else None,
    )


def _params(work: Message) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for name in ("params_json", "override_json"):
        text = work.get(name)
        if text:
            params.update(decode_params(text))
    return params


def decode_params(text: str) -> dict[str, Any]:
    """A JSON object. Raises `BadCall`."""
    try:
        params = json.loads(text)
    except ValueError as error:
        raise BadCall(f"the parameters are not JSON: {error}") from error
    if not isinstance(params, dict):
        raise BadCall(f"the parameters must be a JSON object, got {text[:60]}")
    return params


def _sources(operator: Operator, work: Message) -> dict[str, Source]:
    inputs = work.get("inputs")
    if not inputs:
        return {}
    return {
        name: Source(
            data=base64.b64decode(item.get("data", "")),
            path=item.get("path", ""),
            is_quoted=bool(item.get("is_value")) and _takes_text(operator, name),
        )
        for name, item in inputs.items()
    }


def _takes_text(operator: Operator, name: str) -> bool:
    """Whether a port, or the list of which this is a part, wants the text of a JSON string rather than the JSON."""
    inputs = operator.signature.inputs
    if name in inputs:
        return _is_plain(inputs[name][1])
    port, _, place = name.rpartition(".")
    return place.isdecimal() and port in inputs and _is_plain(_item_of(inputs[port][1]))


def _is_plain(kind: Any) -> bool:
    return kind in (str, bytes) or _is_path(kind)


def _is_path(kind: Any) -> bool:
    return getattr(kind, "__name__", "") == "Path"


def _item_of(kind: Any) -> Any:
    [item, *_] = get_args(kind) or (Any,)
    return item


def _arguments(operator: Operator, context: Context, sources: dict[str, Source]) -> dict[str, Any]:
    signature = operator.signature
    problems = validate_params(operator.params_schema, context.params)
    if problems:
        raise BadCall("; ".join(problem.message for problem in problems))
    arguments = {}
    for name, value in context.params.items():
        parameter = signature.params.get(name)
        arguments[name] = parameter.convert(value) if parameter and parameter.convert else value
    for name, (port, kind) in signature.inputs.items():
        if name in sources:
            arguments[name] = _input(operator, name, kind, context, sources[name])
        elif f"{name}.0" in sources:
            arguments[name] = _parts(operator, name, kind, context, sources)
        elif port.required:
            raise BadCall(f"input {name!r} of operator {operator.name!r} is missing")
    if signature.context_name:
        arguments[signature.context_name] = context
    return arguments


def _parts(
    operator: Operator, name: str, kind: Any, context: Context, sources: dict[str, Source]
) -> list[Any]:
    """Inputs "port.0", "port.1" … are one list: several results flow into the port, and one of them is large."""
    item = _item_of(kind)
    parts: list[Any] = []
    while (part := f"{name}.{len(parts)}") in sources:
        parts.append(_input(operator, part, item, context, sources[part]))
    return parts


def _input(operator: Operator, name: str, kind: Any, context: Context, source: Source) -> Any:
    try:
        if _is_path(kind):
            return context.attachments[name]
        data = source.read()
        if kind is bytes:
            return data
        if not data and kind is not str:
            # What it comes from has failed: the empty set.
            return None
        return data.decode() if kind is str else json.loads(data)
    except ValueError as error:
        wanted = "UTF-8 text" if kind is str else "JSON"
        raise BadCall(f"input {name!r} of operator {operator.name!r} is not {wanted}: {error}") from error


def _is_cancellation(error: BaseException) -> bool:
    asyncio_module = sys.modules.get("asyncio")
    return asyncio_module is not None and isinstance(error, asyncio_module.CancelledError)


def _resource_tracker() -> tuple[int, ...]:
    """The helper of multiprocessing, which is the process's own and not the call's."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    pid = getattr(getattr(module, "_resource_tracker", None), "_pid", None)
    return (pid,) if pid else ()
