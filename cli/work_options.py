"""The words of placement, resources, environment and conduct, the same for `yard run` and `yard call`.

Owns their parsing into the client's `Options`; does no I/O but reading the files that are named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import UsageError

if TYPE_CHECKING:
    from modelyard.client.specs import Options

# The headings of the help.
PLACEMENT = "Placement"
RESOURCES = "Resources"
ENVIRONMENT = "Environment"
DATA = "Data"
SHARING = "Sharing"
ORDER = "Order"
ARRAYS = "Arrays and gangs"
CONDUCT = "Conduct"
NOTIFICATION = "Notification"

Node = Annotated[str, typer.Option(help="Only this node", autocompletion=None, rich_help_panel=PLACEMENT)]
Pool = Annotated[
    str,
    typer.Option(help="Only nodes of this pool", show_default="nodes of no pool", rich_help_panel=PLACEMENT),
]
Label = Annotated[
    list[str],
    typer.Option(
        help="Only nodes with this label k=v; repeatable", show_default=False, rich_help_panel=PLACEMENT
    ),
]
Policy = Annotated[
    str,
    typer.Option(help="least-loaded|binpack|spread", show_default="least-loaded", rich_help_panel=PLACEMENT),
]
Quote = Annotated[
    str,
    typer.Option(
        help="Capacity that is held for it: yard nodes quote", show_default=False, rich_help_panel=PLACEMENT
    ),
]
DistinctNodes = Annotated[
    bool,
    typer.Option(
        "--distinct-nodes", help="Each element of the array on a node of its own", rich_help_panel=PLACEMENT
    ),
]
Cpu = Annotated[float, typer.Option(help="Cores", show_default="1", rich_help_panel=RESOURCES)]
Memory = Annotated[str, typer.Option(help="For example 512Mi", rich_help_panel=RESOURCES)]
Gpu = Annotated[
    float, typer.Option(help="Devices; below 1: a share of one", show_default="0", rich_help_panel=RESOURCES)
]
Resource = Annotated[
    list[str],
    typer.Option(
        help="Custom resource name=amount; repeatable", show_default=False, rich_help_panel=RESOURCES
    ),
]
Requirements = Annotated[
    str, typer.Option(help="Requirements file; installed once per machine", rich_help_panel=ENVIRONMENT)
]
Env = Annotated[
    list[str],
    typer.Option(
        help="Environment variable k=v; repeatable", show_default=False, rich_help_panel=ENVIRONMENT
    ),
]


def _directory(value: str) -> str:
    if value and not Path(value).is_dir():
        raise typer.BadParameter(f"there is no directory {value}")
    return value


Dir = Annotated[
    str,
    typer.Option(help="Directory to run in; it is shipped", callback=_directory, rich_help_panel=ENVIRONMENT),
]
Param = Annotated[
    list[str],
    typer.Option(
        "--param",
        help="k=v; v is JSON, else text; k=@FILE reads JSON",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
ParamEnv = Annotated[
    str,
    typer.Option(
        help="Further parameters, from MODELYARD_PARAM_… of the agent that runs it; --param goes over them",
        metavar="NAME",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
InputFile = Annotated[
    list[str],
    typer.Option(
        "--input", help="name=@FILE or name=sha256:DIGEST", show_default=False, rich_help_panel=DATA
    ),
]
Attach = Annotated[
    list[str],
    typer.Option(
        metavar="FILE|DIR/[:PATH]",
        help="File or directory to send along; it lies at PATH, or its own name, in the working directory; "
        "repeatable",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
Keep = Annotated[
    list[str],
    typer.Option(help="Glob of files to keep; repeatable", show_default=False, rich_help_panel=DATA),
]
Name = Annotated[str, typer.Option(help="A name for people", rich_help_panel=CONDUCT)]
Priority = Annotated[int, typer.Option(help="Higher goes first, −1000 … 1000", rich_help_panel=SHARING)]
Cap = Annotated[
    list[str],
    typer.Option(
        metavar="KEY=N",
        help="At most N tasks of the account with this key run at a time; repeatable",
        show_default=False,
        rich_help_panel=SHARING,
    ),
]
Retries = Annotated[int, typer.Option(help="Further attempts", rich_help_panel=CONDUCT)]
Timeout = Annotated[str, typer.Option(help="Longest run, for example 10m", rich_help_panel=CONDUCT)]
QueueTimeout = Annotated[str, typer.Option(help="Longest wait for a place", rich_help_panel=CONDUCT)]
Array = Annotated[
    int, typer.Option(help="Run this many elements; each knows YARD_ARRAY_INDEX", rich_help_panel=ARRAYS)
]
Preemptible = Annotated[
    bool,
    typer.Option(
        "--preemptible",
        help="May be interrupted for what goes first, and is queued again",
        rich_help_panel=SHARING,
    ),
]
Preempts = Annotated[
    bool,
    typer.Option(
        "--preempts", help="May have preemptible tasks of lower priority interrupted", rich_help_panel=SHARING
    ),
]
PreemptionGrace = Annotated[
    str,
    typer.Option(
        help="To save its state when it is interrupted", show_default="30s", rich_help_panel=SHARING
    ),
]
CheckpointSignal = Annotated[
    str,
    typer.Option(
        help="Asks it to save its state, for example SIGUSR1", show_default="SIGTERM", rich_help_panel=SHARING
    ),
]
Gang = Annotated[
    str,
    typer.Option(
        help="Elements start together or not at all, under this name",
        show_default=False,
        rich_help_panel=ARRAYS,
    ),
]
GangMin = Annotated[
    int,
    typer.Option(
        help="So many elements must start together, the others follow",
        show_default="all",
        rich_help_panel=ARRAYS,
    ),
]
Tag = Annotated[
    list[str],
    typer.Option(
        help="Label k=v of the task itself; repeatable", show_default=False, rich_help_panel=CONDUCT
    ),
]
Hold = Annotated[bool, typer.Option("--hold", help="Submit held; release it later", rich_help_panel=ORDER)]
After = Annotated[
    list[str],
    typer.Option(
        help="Start when this task or array has succeeded; repeatable",
        show_default=False,
        rich_help_panel=ORDER,
    ),
]
AfterAny = Annotated[
    list[str],
    typer.Option(
        help="Start when it has ended, however; repeatable", show_default=False, rich_help_panel=ORDER
    ),
]
AfterFailed = Annotated[
    list[str],
    typer.Option(help="Start when it has failed; repeatable", show_default=False, rich_help_panel=ORDER),
]
AfterStart = Annotated[
    list[str],
    typer.Option(help="Start when it has started; repeatable", show_default=False, rich_help_panel=ORDER),
]
Elementwise = Annotated[
    bool,
    typer.Option(
        "--elementwise",
        help="Between arrays of one size: element i waits for element i",
        rich_help_panel=ORDER,
    ),
]
ArrayIndexes = Annotated[
    str, typer.Option(help="Only these elements, for example 0-4,7", rich_help_panel=ARRAYS)
]
MaxRunning = Annotated[
    int, typer.Option(help="Elements under way at a time", show_default="no limit", rich_help_panel=ARRAYS)
]
MaxFails = Annotated[
    int | None,
    typer.Option(
        help="Cancel the rest when more elements have failed", show_default="no limit", rich_help_panel=ARRAYS
    ),
]
AtMostOnce = Annotated[
    bool,
    typer.Option(
        "--at-most-once", help="Never started again unless it surely had not started", rich_help_panel=CONDUCT
    ),
]
OnDisconnect = Annotated[
    str,
    typer.Option(
        help="When its node is silent: replace|keep|stop", show_default="replace", rich_help_panel=CONDUCT
    ),
]
LostAfter = Annotated[
    str, typer.Option(help="How long its node may be silent", show_default="15s", rich_help_panel=CONDUCT)
]
Reconcile = Annotated[
    str,
    typer.Option(
        help="When the node is back after all: keep-replacement|keep-original|best-score|longest-running",
        show_default="keep-replacement",
        rich_help_panel=CONDUCT,
    ),
]
ModifySignal = Annotated[
    str,
    typer.Option(
        help="Sent when its parameters change (YARD_PARAMS), for example SIGUSR1", rich_help_panel=CONDUCT
    ),
]
Contact = Annotated[
    str,
    typer.Option(
        help="Who is told how it ended",
        show_default="the account's default contacts",
        rich_help_panel=NOTIFICATION,
    ),
]
Notify = Annotated[
    str,
    typer.Option(
        help="Which ends are told: success|failure|both", show_default="both", rich_help_panel=NOTIFICATION
    ),
]
NotifyRun = Annotated[
    str,
    typer.Option(
        help="What is told: success|failure|both|gates, also with commas",
        show_default="all of it to a contact that is named",
        rich_help_panel=NOTIFICATION,
    ),
]
Silent = Annotated[
    bool, typer.Option("--silent", help="Tell nobody, default contacts or not", rich_help_panel=NOTIFICATION)
]
IdempotencyKey = Annotated[
    str,
    typer.Option(
        help="Submitting twice with the same key makes one task", show_default=False, rich_help_panel=CONDUCT
    ),
]


_EVEN_ZERO = frozenset({"max_fails"})
"""Options of which 0 says something other than nothing."""


def chosen(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Of a command's parameters those that `options_of` takes: `options_of(**chosen(locals()))`."""
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


def attachments_of(words: Sequence[str]) -> dict[str, Path | str]:
    """Attachments by path: `file`, `dir/`, `file:path`, `sha256:DIGEST:path`. A file whose own name has a colon in it
    is meant if it is there. Raises UsageError for what is not there, as for a missing --dir."""
    found: dict[str, Path | str] = {}
    for word in words:
        source, path = _attachment(word)
        if isinstance(source, Path) and not source.exists():
            raise UsageError(
                f"--attach {word}: there is no such file or directory",
                next_step="write it as FILE, DIR/ or FILE:PATH",
            )
        if path in found:
            raise UsageError(
                f"--attach {word}: {path} is attached twice", next_step="name another path: FILE:PATH"
            )
        found[path] = source
    return found


def _attachment(word: str) -> tuple[Path | str, str]:
    before, colon, path = word.rpartition(":")
    if word.startswith("sha256:"):
        if before == "sha256":
            raise UsageError(f"--attach {word}: say where it is to lie: {word}:PATH")
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
