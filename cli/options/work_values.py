"""What was typed behind the words of `work_options`, as values that the client takes.

Does no I/O but reading the files that are named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import UsageError
from modelyard.quantities import parse_duration

if TYPE_CHECKING:
    from modelyard.client.specs import Options
    from modelyard.v1 import task_pb2

_EVEN_ZERO = frozenset({"max_fails"})
"""Options of which 0 says something other than nothing."""


def chosen(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Of a form's fields those that `options_of` takes: `options_of(**chosen(vars(form)))`."""
    return {key: value for key, value in flags.items() if key in _TARGETS}


def options_of(**given: Any) -> Options:
    """The client's options from the flags of one command; empty ones are left out."""
    parsed: dict[str, Any] = {}
    for key, value in given.items():
        if value is None or (key not in _EVEN_ZERO and value in ("", [], 0, 0.0, False)):
            continue
        name, convert = _TARGETS[key]
        parsed[name] = convert(value)
    return parsed  # type: ignore[return-value]


def state_of(word: str) -> task_pb2.TaskState.ValueType:
    """The state of a task by its word. Raises UsageError."""
    from modelyard.v1 import task_pb2

    try:
        return task_pb2.TaskState.Value(f"TASK_STATE_{word.upper()}")
    except ValueError as error:
        known = [name.removeprefix("TASK_STATE_").lower() for name in task_pb2.TaskState.keys()[1:]]
        raise UsageError(f"{word!r} is no state", next_step=f"choose of {', '.join(known)}") from error


def seconds_of(text: str) -> float:
    """A duration such as 10m. Raises UsageError."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def pairs(words: Sequence[str], flag: str) -> dict[str, str]:
    """k=v words as a mapping."""
    found: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not key or not separator:
            raise UsageError(f"{flag} {word}: write it as key=value")
        found[key] = value
    return found


def params_of(words: Sequence[str]) -> dict[str, Any]:
    """Parameters: JSON where the value is JSON, else text; `k=@file` reads a JSON file."""
    return {key: _param(key, value) for key, value in pairs(words, "--param").items()}


def _param(key: str, value: str) -> Any:
    if value.startswith("@"):
        try:
            return json.loads(Path(value[1:]).read_text())
        except json.JSONDecodeError as error:
            raise UsageError(f"--param {key}: {value[1:]} is not JSON: {error}") from error
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def inputs_of(words: Sequence[str]) -> dict[str, Any]:
    """Inputs: `name=@file` is a path, `name=sha256:…` an artefact, anything else is text."""
    return {name: _input(name, value) for name, value in pairs(words, "--input").items()}


def _input(name: str, value: str) -> Any:
    if value.startswith("@"):
        path = Path(value[1:])
        if not path.is_file():
            raise UsageError(f"--input {name}: there is no file {path}")
        return path
    return value if value.startswith("sha256:") else value.encode()


def attachments_of(words: Sequence[str], option: str = "--attach") -> dict[str, Path | str]:
    """Attachments by path: `file`, `dir/`, `file:path`, `sha256:DIGEST:path`. A file whose own name has a colon in it
    is meant if it is there. Raises UsageError for what is not there, as for a missing --dir."""
    found: dict[str, Path | str] = {}
    for word in words:
        source, path = _attachment(word, option)
        if isinstance(source, Path) and not source.exists():
            raise UsageError(
                f"{option} {word}: there is no such file or directory",
                next_step="write it as FILE, DIR/ or FILE:PATH",
            )
        if path in found:
            raise UsageError(
                f"{option} {word}: {path} is attached twice", next_step="name another path: FILE:PATH"
            )
        found[path] = source
    return found


def _attachment(word: str, option: str) -> tuple[Path | str, str]:
    before, colon, path = word.rpartition(":")
    if word.startswith("sha256:"):
        if before == "sha256":
            raise UsageError(f"{option} {word}: say where it is to lie: {word}:PATH")
        return before, path
    if colon and before and path and not Path(word).exists():
        return Path(before), path.rstrip("/")
    source = Path(word)
    return source, source.name or source.resolve().name


def _read(path: str) -> str:
    return Path(path).read_text()


def _amounts(words: Sequence[str]) -> dict[str, float]:
    try:
        return {name: float(amount) for name, amount in pairs(words, "--resource").items()}
    except ValueError as error:
        raise UsageError(f"--resource: {error}") from error


def _counts(words: Sequence[str]) -> dict[str, int]:
    try:
        return {key: int(count) for key, count in pairs(words, "--cap").items()}
    except ValueError as error:
        raise UsageError(f"--cap: write it as key=number, for example --cap licence=2 ({error})") from error


def _same(value: Any) -> Any:
    return value


_TARGETS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "node": ("node", _same),
    "pool": ("pool", _same),
    "label": ("node_labels", lambda words: pairs(words, "--label")),
    "policy": ("policy", _same),
    "quote": ("quote", _same),
    "distinct_nodes": ("distinct_nodes", _same),
    "gang": ("gang", _same),
    "preemptible": ("preemptible", _same),
    "preempts": ("preempts", _same),
    "preemption_grace": ("preemption_grace", _same),
    "checkpoint_signal": ("checkpoint_signal", _same),
    "gang_min": ("gang_min", _same),
    "cpu": ("cpu", _same),
    "memory": ("memory", _same),
    "gpu": ("gpu", _same),
    "resource": ("custom", _amounts),
    "requirements": ("requirements", _read),
    "image": ("image", _same),
    "network": ("network", _same),
    "env": ("env", lambda words: pairs(words, "--env")),
    "keep": ("outputs", _same),
    "name": ("name", _same),
    "priority": ("priority", _same),
    "queue": ("queue", _same),
    "cap": ("caps", _counts),
    "retries": ("retries", _same),
    "timeout": ("timeout", _same),
    "queue_timeout": ("queue_timeout", _same),
    "array": ("array_size", _same),
    "tag": ("labels", lambda words: pairs(words, "--tag")),
    "hold": ("hold", _same),
    "on_disconnect": ("on_disconnect", _same),
    "lost_after": ("lost_after", _same),
    "reconcile": ("reconcile", _same),
    "modify_signal": ("modify_signal", _same),
    "param_env": ("param_env", _same),
    "after": ("after", _same),
    "after_any": ("after_any", _same),
    "after_failed": ("after_failed", _same),
    "after_start": ("after_start", _same),
    "elementwise": ("elementwise", _same),
    "array_indexes": ("array_indexes", _same),
    "max_running": ("max_running", _same),
    "max_fails": ("max_fails", _same),
    "at_most_once": ("at_most_once", _same),
    "contact": ("contact", _same),
    "notify": ("notify", _same),
    "silent": ("silent", _same),
}
