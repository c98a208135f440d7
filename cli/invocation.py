"""What every command shares: its common options, its settings, its way to fail.

Owns the decorator that makes a Typer command of a function. A command function takes an `Invocation` first
and returns its exit code, or nothing for 0; it may be a coroutine function. A parameter whose type is a dataclass
stands for the options that are its fields. Imports no gRPC.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand

from cli import exit_codes
from cli.errors import UsageError, report_of, show
from cli.output.render import FORMATS
from modelyard import settings as yard_settings
from modelyard.settings import Settings

if TYPE_CHECKING:
    from modelyard.client.aio import Client

F = TypeVar("F", bound=Callable[..., Any])

COMMON_HELP = (
    "Every command also takes --context, --endpoint, --store, --graph, --trainer, --models, --token-file, --ca-file, "
    "--state and --debug; `yard config view` shows their values."
)


def new_group(help: str) -> typer.Typer:
    """A group of commands, for example `yard tasks`."""
    group = typer.Typer(
        help=help,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    group.callback()(lambda: None)
    return group


def new_command() -> typer.Typer:
    """A command by itself, for example `yard run`."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def new_part() -> typer.Typer:
    """Commands of a group that stand in a file of their own; the group takes them in."""
    return typer.Typer()


def take_in(group: typer.Typer, *parts: typer.Typer) -> None:
    """Makes the commands and groups of these parts the group's own, in this order."""
    for part in parts:
        group.registered_commands += part.registered_commands
        group.registered_groups += part.registered_groups


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of a command."""

    settings: Settings
    output: str
    debug: bool

    def client(self, *, first_patience_s: float = 5.0, patience_s: float = 300.0) -> Client:
        """A client of the chosen yard; nobody listening there is an error at once."""
        from modelyard.client.aio import Client

        return Client(
            settings=self.settings,
            first_patience_s=first_patience_s,
            patience_s=patience_s,
            refusal_is_final=True,
        )

    def say(self, text: str) -> None:
        """A message for people, on stderr."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _hidden(flag: str, help: str, kind: type = str) -> Any:
    return Annotated[kind, typer.Option(flag, help=help, hidden=True, show_default=False)]


COMMON: dict[str, Any] = {
    "output": Annotated[
        str,
        typer.Option("--output", "-o", help="|".join(FORMATS), show_default=False, metavar="FORMAT"),
    ],
    "context": _hidden("--context", "A yard of the configuration file"),
    "endpoint": _hidden("--endpoint", "host:port of the scheduler"),
    "store": _hidden("--store", "host:port of the store"),
    "graph": _hidden("--graph", "host:port of the graph service"),
    "trainer": _hidden("--trainer", "host:port of the trainer"),
    "models": _hidden("--models", "host:port of the models service"),
    "token_file": _hidden("--token-file", "File with the token"),
    "ca_file": _hidden("--ca-file", "Authority to trust"),
    "state": _hidden("--state", "State directory"),
    "debug": _hidden("--debug", "Show tracebacks", bool),
}


class SectionedCommand(TyperCommand):
    """Its help shows options below the headings that they name as their panels."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                is_argument = parameter.param_type_name == "argument"
                panel = getattr(parameter, "rich_help_panel", None) or "Options"
                sections.setdefault("Arguments" if is_argument else panel, []).append(record)
        # Those that belong nowhere come last.
        sections["Options"] = sections.pop("Options", [])
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def command(
    group: typer.Typer, name: str = "", formats: tuple[str, ...] = (), **settings: Any
) -> Callable[[F], F]:
    """Adds a function to a group as a command with the common options; `formats`: that only this one writes."""

    def register(function: F) -> F:
        added = _wrapper(function, formats)
        group.command(name or None, cls=SectionedCommand, epilog=COMMON_HELP, **settings)(added)
        return function

    return register


def _wrapper(function: Callable[..., Any], formats: tuple[str, ...]) -> Callable[..., int]:
    hints = get_type_hints(function, include_extras=True)
    own = list(inspect.signature(function).parameters.values())[1:]
    groups = {each.name: hints[each.name] for each in own if dataclasses.is_dataclass(hints[each.name])}
    parameters = []
    for parameter in own:
        kind = groups.get(parameter.name)
        parameters += _fields(kind) if kind else [parameter.replace(annotation=hints[parameter.name])]
    names = {parameter.name for parameter in parameters}
    common = {key: hint for key, hint in COMMON.items() if key not in names}

    def run(**arguments: Any) -> int:
        flags = {key: arguments.pop(key) for key in common}
        for key in names & set(COMMON):
            flags[key] = str(arguments[key] or "")
        for name, kind in groups.items():
            fields = dataclasses.fields(kind)
            arguments[name] = kind(**{field.name: arguments.pop(field.name) for field in fields})
        return _run(function, flags, arguments, (*FORMATS, *formats))

    for key, hint in common.items():
        default = False if key == "debug" else ""
        parameters.append(
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        )
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__, run.__name__ = function.__doc__, function.__name__
    return run


def _fields(kind: type) -> list[inspect.Parameter]:
    """The fields of a dataclass as parameters of a command; each has a default."""
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default
            if field.default_factory is dataclasses.MISSING
            else field.default_factory(),
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(kind)
    ]


def _run(
    function: Callable[..., Any], flags: dict[str, Any], arguments: dict[str, Any], formats: tuple[str, ...]
) -> int:
    """Runs a command and turns every error into its report; a defect into a short notice."""
    debug = bool(flags.pop("debug", False))
    output = str(flags.get("output") or "table")
    try:
        settings = yard_settings.load({key: str(value) for key, value in flags.items()})
        output = settings["output"]
        if output not in formats:
            raise UsageError(f"{output!r} is no output format", next_step=f"choose {', '.join(formats)}")
        result = function(Invocation(settings, output, debug), **arguments)
        if inspect.isawaitable(result):
            result = asyncio.run(result)  # type: ignore[arg-type]
        return int(result or exit_codes.DONE)
    except BrokenPipeError:
        raise
    except (
        Exception
    ) as error:  # nobody is above: what is no expected error is a defect, and is said to be one
        if debug:
            traceback.print_exc()
        report = report_of(error)
        if report is not None:
            return show(report, output)
        sys.stderr.write(
            f"error: a defect in yard: {type(error).__name__}: {error}\n"
            "  next: repeat it with --debug and report it\n"
        )
        return exit_codes.WORK_FAILED
