"""What a short command loads: nothing that takes longer than the command."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

from cli.app import COMMANDS

HEAVY = ("grpc", "google.protobuf", "rich", "pydantic", "yaml", "cryptography", "asyncio.base_events")
ROOT = Path(__file__).parents[3]


def loaded_by(*words: str) -> set[str]:
    script = (
        "import sys; from cli.app import run; code = run(sys.argv[1:]); "
        "sys.stderr.write('\\n'.join(sys.modules)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(done.stderr.splitlines())


@pytest.mark.parametrize("words", [("--help",), ("up", "--help"), ("version",)])
def test_help_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    heavy = HEAVY if words != ("up", "--help") and words != ("version",) else HEAVY[:-1]
    assert not loaded_by(*words) & set(heavy)


def test_supervisor_never_loads_grpc() -> None:
    script = "import sys, cli.supervisor.detached; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert not set(done.stdout.splitlines()) & {"grpc", "google.protobuf", "asyncio", "typer"}


def test_every_command_of_the_table_can_be_loaded() -> None:
    import typer

    from cli.app import COMMANDS, Commands

    root = Commands(name="yard")
    context = typer.Context(root)
    for name in COMMANDS:
        assert root.get_command(context, name) is not None, name


@pytest.mark.parametrize("name", [n for n, (_, summary) in COMMANDS.items() if summary[0].islower()])
def test_summary_of_a_group_names_exactly_its_commands(name: str) -> None:
    module, summary = COMMANDS[name]
    group = typer.main.get_command(import_module(f"cli.commands.{module}").app)
    told = summary.partition(":")[0].split(", ")
    assert told == list(group.commands)
