"""What help calls values, and what is said to whoever goes away or has failed."""

from __future__ import annotations

import asyncio

import pytest

from cli.app import root, run
from cli.following.leaving import goes_on
from cli.output.jobs import INSTANCE_COLUMNS, failed_lines
from cli.output.nouns import counted
from modelyard.v1 import job_pb2


def help_of(*command: str) -> str:
    from typer import Context

    context, found = Context(root()), root()
    for word in command:
        found = found.get_command(context, word)
        context = Context(found, parent=context, info_name=word)
    return str(found.get_help(context))


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        (("graph", "run"), "graph run [OPTIONS] PROJECT\n"),
        (("tasks", "wait"), "tasks wait [OPTIONS] TASKS …\n"),
        (("run",), "run [OPTIONS] -- COMMAND ARG…\n"),
        (("train", "logs"), "train logs [OPTIONS] JOB [ROLE[-INDEX]]\n"),
        (("agent", "join"), "agent join [OPTIONS] TOKEN@HOST:PORT\n"),
    ],
)
def test_usage_names_arguments_as_documents_do(command: tuple[str, ...], usage: str) -> None:
    said = help_of(*command)
    assert usage in said
    assert "<str>" not in said and "<int>" not in said and "list[str]" not in said


def test_help_of_an_option_names_what_it_takes() -> None:
    said = help_of("run")
    for option in ("--param k=v", "--dir DIR", "--cpu NUMBER", "--retries N", "--node NODE", "--silent "):
        assert option in said


class Yard:
    """Of an invocation what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def test_wait_that_is_interrupted_says_what_goes_on_and_what_to_type() -> None:
    yard = Yard()
    leaving = goes_on(yard, "j-7", "yard train watch j-7", "yard train stop j-7")  # type: ignore[arg-type]
    with pytest.raises(asyncio.CancelledError), leaving:
        raise asyncio.CancelledError
    assert yard.said == ["\ndetached; j-7 goes on", "  next: yard train watch j-7 · yard train stop j-7"]


def test_wait_that_ends_says_nothing() -> None:
    yard = Yard()
    with goes_on(yard, "j-7", "yard train watch j-7"):  # type: ignore[arg-type]
        pass
    assert yard.said == []


def test_instance_that_has_ended_is_shown_where_it_was_and_failed_with_its_last_lines() -> None:
    stopped = job_pb2.Instance(role="worker", index=0, state=job_pb2.INSTANCE_STATE_STOPPED)
    failed = job_pb2.Instance(role="worker", index=1, state=job_pb2.INSTANCE_STATE_FAILED)
    failed.exit.node = "node-2"
    failed.exit.last_lines.extend(["Traceback", "KeyError: 'x'"])
    assert failed_lines([stopped, failed]) == [
        "worker-1 wrote last:",
        "  Traceback",
        "  KeyError: 'x'",
    ]
    assert failed_lines([stopped]) == []
    assert dict(INSTANCE_COLUMNS)["NODE"](failed) == "node-2"


def test_count_of_one_is_one_thing() -> None:
    assert [counted(count, "node") for count in (0, 1, 2)] == ["0 nodes", "1 node", "2 nodes"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["tasks", "frob"], "error: no such command 'frob'\n"
         "  next: yard tasks [OPTIONS] COMMAND [ARGS]... · yard tasks --help\n"),
        (["graph", "run"], "error: missing argument 'PROJECT'\n"
         "  next: yard graph run [OPTIONS] PROJECT · yard graph run --help\n"),
        (
            ["tasks", "ls", "--page-size", "x"],
            "error: invalid value for '--page-size': 'x' is not a whole number\n"
            "  next: yard tasks ls [OPTIONS] · yard tasks ls --help\n",
        ),
    ],
)  # fmt: skip
def test_mistyped_command_is_told_as_any_other_error(
    typed: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed) == 2
    assert capsys.readouterr().err == said


def test_command_without_a_word_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graph"]) == 2
    assert capsys.readouterr().err.startswith("Usage: yard graph [OPTIONS] COMMAND")
