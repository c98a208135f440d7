"""The tree of commands, none of which is imported before it runs.

Owns the table of commands and how the program ends. Nothing heavy may be imported here: `yard --help` has a
budget of 150 ms.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from cli.coercion import convert_plainly
from cli.errors import UsageError

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("up", "Bring up a yard: its services and agents, one command"),
    "down": ("down", "Stop the yard that `yard up` started"),
    "restart": ("restart", "Begin the services of `yard up` anew, one after the other: an upgrade"),
    "demo": ("demo", "From data to a served model on a yard of two nodes, in a minute or two"),
    "doctor": ("doctor", "Check this machine and the yard"),
    "run": ("run", "Run a command on the best node; its logs and its exit code"),
    "call": ("call", "Call one operator; its result as JSON"),
    "tasks": ("tasks", "ls, get, logs, wait, modify, cancel, hold, release, suspend, resume, retry, explain"),
    "nodes": ("nodes", "ls, get, occupancy, quote, cordon, uncordon, drain, label, rm, token"),
    "agent": ("agent", "join, run, restart: make this machine a node of a yard"),
    "operators": ("operators", "ls, get: what the agents can do"),
    "artifacts": ("artifacts", "put, get, ls, rm"),
    "accounts": ("accounts", "add, ls, rm, whoami"),
    "tokens": ("tokens", "add, ls, rm"),
    "audit": ("audit", "ls: who changed what, and who was refused"),
    "contacts": ("contacts", "add, ls, get, test, default, rm, deliveries, replay"),
    "graph": ("graph.group", "Canvases and their versions: checked, explained, run, watched, imported"),
    "trigger": (
        "trigger.group",
        "Runs that start by themselves: schedules, webhooks, artefacts, models; back-fills",
    ),
    "train": (
        "train.group",
        "Training with any framework: jobs run, watched, logged, drawn, swept, imported",
    ),
    "model": ("model.group", "Models: pushed, proved, configured, named; inspect needs no yard"),
    "lineage": ("lineage", "Where data, runs, jobs and models come from, and what became of them"),
    "queues": ("queues", "ls, get, add, set, stop, start, rm: in which order accounts share"),
    "quotas": ("quotas", "ls, get, set: what an account may hold"),
    "backup": ("backup", "Write a consistent copy of a yard to a file"),
    "restore": ("restore", "Make a state directory from a backup"),
    "api": ("api", "Call any method of the gRPC contract with JSON"),
    "config": ("config", "view: every setting and where it is from"),
    "completion": ("completion", "Print the completion script of a shell"),
    "version": ("version", "Print the version"),
}


COMPLETE_VARIABLE = "_YARD_COMPLETE"
"""Set by the scripts of `yard completion`: what to offer is wanted, not a command run."""


class Commands(TyperGroup):
    """Imports a command's module when the command is wanted."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"cli.commands.{COMMANDS[cmd_name][0]}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        convert_plainly(command)
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        from typer._click.shell_completion import CompletionItem

        return [
            CompletionItem(name, help=summary)
            for name, (_, summary) in COMMANDS.items()
            if name.startswith(incomplete)
        ]


def root() -> Commands:
    root = Commands(
        name="yard",
        commands=dict.fromkeys(COMMANDS),  # type: ignore[arg-type]
        help="Run AI work on the machines a team already has.",
        epilog="Start here: yard demo, or: yard up --detach && yard call echo --param value=1",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    convert_plainly(root)
    return root


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code."""
    if COMPLETE_VARIABLE in os.environ:
        from typer._completion_classes import completion_init

        completion_init()
    try:
        result = root().main(list(arguments), prog_name="yard", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except TyperException as error:
        return _usage(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has gone, for example `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _usage(error: TyperException) -> int:
    """What was typed makes no sense: told as any other error is."""
    context = getattr(error, "ctx", None)
    if context is None or error.format_message().startswith("Usage:"):
        # Interrupted, or a command without arguments that shows its help.
        show_itself = getattr(error, "show", None)
        if show_itself is None:
            return 130
        show_itself()
        return int(getattr(error, "exit_code", 2))
    from cli.errors import report_of, show

    message = error.format_message().removesuffix(".")
    usage = " ".join(context.get_usage().split()).removeprefix("Usage: ")
    told = UsageError(
        message[:1].lower() + message[1:],
        next_step=f"{usage} · {context.command_path} --help",
    )
    report = report_of(told)
    assert report is not None
    return show(report)
