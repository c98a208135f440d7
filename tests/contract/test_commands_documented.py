"""Every command in every document is typed by a test, or stands here with the reason why not (issue 7.5).

What stands between backticks in a sentence is not run, but is a command that there is, with options that it takes.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from cli.app import COMMANDS, root
from tests.support.documents import Block, blocks, inline, pages
from tests.support.yard import ROOT

TYPED = {
    "README.md": "tests/e2e/test_e2e_readme.py",
    "docs/control-nodes.md": "tests/e2e/test_e2e_control_nodes_documented.py",
    "docs/lineage.md": "tests/e2e/test_e2e_lineage.py",
    "docs/training.md": "tests/e2e/test_e2e_training_documented.py",
    **dict.fromkeys(
        ("docs/contacts.md", "docs/models.md", "docs/operations.md", "docs/operators.md", "docs/triggers.md"),
        "tests/e2e/test_e2e_documents.py",
    ),
}
"""Pages whose consoles are typed line by line, and by which test."""

SUITE = "the suite's own targets, which CI runs"
READ = (
    ("README.md", "make demo", SUITE),
    ("README.md", "yard up --host 0.0.0.0", "needs a second machine; test_agent_tls.py joins one over TLS"),
    ("CONTRIBUTING.md", "make setup", SUITE),
    (
        "docs/models.md",
        "yard up --trust ada",
        "a reader's own accounts; test_model_trust.py, test_model_probe.py",
    ),
    (
        "docs/operations.md",
        "docker compose",
        "makes an image from a package index; test_compose.py judges it",
    ),
    ("docs/operations.md", "useradd", "makes users and units; test_systemd_units.py judges the units"),
    ("docs/training.md", "yard train checkpoints", "a reader's own job; test_e2e_checkpoints.py types it"),
    ("tests/conformance/README.md", "make conformance", "against ours: test_e2e_inference_clients.py"),
    ("tests/conformance/README.md", "yard model push", "test_e2e_inference_clients.py types it"),
    ("tests/simulation/README.md", "python -m tests.simulation --seeds", SUITE),
    ("tests/simulation/README.md", "python -m tests.simulation.jobs", SUITE),
)
"""Scripts that no test types: page, how the first line begins, and why."""

LANGUAGES = {"console", "sh", "json", "yaml", "python", "text", ""}
PROGRAMS = (
    "yard",
    "make",
    "python",
    "python3",
    "pip",
    "uv",
    "grpcurl",
    "docker",
    "systemctl",
    "useradd",
    "cp",
)
PLAIN = re.compile(rf"^ {{0,3}}(\$ )?(sudo )?({'|'.join(PROGRAMS)})(-[a-z]+)? ", re.MULTILINE)


def every(*languages: str) -> list[Block]:
    return [block for page in pages() for block in blocks(page, *languages)]


def named(value: object) -> str:
    return value.place if isinstance(value, Block) else str(value)


def test_every_block_says_what_it_is() -> None:
    assert {block.language for block in every()} <= LANGUAGES
    hidden = [block.place for block in every("text", "") if PLAIN.search(block.text)]
    assert not hidden, f"commands in blocks that are no console and no sh: {hidden}"


@pytest.mark.parametrize("block", every("console"), ids=named)
def test_console_is_of_a_page_that_a_test_types(block: Block) -> None:
    assert block.commands and block.text.startswith("$ ")
    test = ROOT / TYPED[block.page]
    assert "documents import" in test.read_text()
    assert block.page in test.read_text() or block.page.removesuffix(".md") in test.read_text()


@pytest.mark.parametrize("block", every("sh"), ids=named)
def test_script_that_nobody_types_has_a_reason(block: Block) -> None:
    assert [one for one in READ if one[0] == block.page and block.text.startswith(one[1])], block.text


def test_reasons_and_pages_are_of_blocks_that_there_are() -> None:
    scripts = every("sh")
    for page, beginning, reason in READ:
        assert [one for one in scripts if one.page == page and one.text.startswith(beginning)], (
            page,
            beginning,
        )
        for test in re.findall(r"test_\w+\.py", reason):
            assert list((ROOT / "tests").rglob(test)), test
    assert set(TYPED) == {block.page for block in every("console")}


# --- commands in sentences

GLOBAL = {
    "--context",
    "--endpoint",
    "--store",
    "--graph",
    "--trainer",
    "--models",
    "--token-file",
    "--ca-file",
}
GLOBAL |= {"--state", "--debug", "--help"}


def spoken() -> list[tuple[str, str]]:
    """Page and command, of everything between backticks that begins with yard, and of scripts that are not run."""
    found = [(page, code) for page in pages() for code in inline(page) if re.match(r"yard [a-z]", code)]
    found += [
        (block.page, line)
        for block in every("sh", "console")
        for line in block.commands
        if line.startswith("yard ")
    ]
    return list(dict.fromkeys(found))


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and the words behind it."""
    command, context = root(), None
    context = command.make_context("yard", [], resilient_parsing=True)
    rest = list(words)
    while rest and hasattr(command, "commands"):
        inner = command.get_command(context, rest[0])
        if inner is None:
            return command, rest
        command, rest = inner, rest[1:]
        context = command.make_context(command.name, [], parent=context, resilient_parsing=True)
    return command, rest


@pytest.mark.parametrize(("page", "line"), spoken())
def test_command_of_a_document_is_one_that_there_is(page: str, line: str) -> None:
    words = shlex.split(line.split(" | ")[0].replace("'s ", " "), comments=True)[1:]
    command, rest = command_of(words)
    if hasattr(command, "commands"):
        assert not rest or rest[0].startswith(("-", "…", "[")), f"{page}: there is no {line}"
        return
    taken = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | GLOBAL
    options = rest[: rest.index("--")] if "--" in rest else rest
    for word in options:
        name = word.split("=")[0].strip("[]….,")
        if name.startswith("--"):
            assert name in taken, f"{page}: {line}: no {name}"


def test_commands_are_looked_for_where_they_stand() -> None:
    told = {line.split()[1] for _, line in spoken()}
    assert {"up", "run", "call", "graph", "train", "model", "lineage", "backup"} <= told <= {*COMMANDS, "…"}


def test_measurements_that_are_named_can_be_made() -> None:
    for page in pages():
        for code in inline(page):
            for name in (
                code.removeprefix("python -m bench ").split() if code.startswith("python -m bench ") else ()
            ):
                assert name.startswith("-") or (ROOT / "bench" / f"{name}.py").exists(), f"{page}: {code}"
