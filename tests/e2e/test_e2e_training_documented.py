"""Every console line of docs/training.md, typed in order on a yard of its own (S3.12)."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.support.documents import blocks, console_lines
from tests.support.wait import wait_until_sync
from tests.support.yard import Yard, new_yard

PAGE = "docs/training.md"
FILES = {"hello": "hello.yaml", "waiting": "waiting.yaml", "digits": "job.yaml", "descent": "search.yaml"}
"""What the page calls the jobs of these names."""


def lines() -> list[list[str]]:
    """The words of every line; NAME and the like are no part of blocks."""
    typed = [shlex.split(line, comments=True) for line in console_lines(PAGE)]
    assert all(words[0] == "yard" for words in typed)
    return [words[1:] for words in typed]


def write_files(place: Path) -> None:
    """The page's jobs, under the names that its commands use."""
    for block in blocks(PAGE, "yaml"):
        name = re.search(r"^name: (\w+)$", block.text, re.MULTILINE)
        if name and name[1] in FILES:
            (place / FILES[name[1]]).write_text(block.text)


def type_in(yard: Yard, place: Path) -> dict[str, str]:
    """What each line has printed; none may fail."""
    printed = {}
    for words in lines():
        done = yard.cli(*words, cwd=place)
        assert done.code == 0, f"yard {' '.join(words)}: {done.stdout}{done.stderr}"
        printed[" ".join(words)] = done.stdout + done.stderr
        if words[:2] == ["train", "run"] and "--detach" in words:
            wait_until_sync(lambda: yard.task_processes(), "it runs", timeout_s=30, state=yard.logs)
    return printed


def test_every_console_line_of_the_page_works_in_order(tmp_path: Path) -> None:
    write_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES.values())
    with new_yard(is_up=False) as yard:
        (yard.state / "yard.toml").write_text(f"port_base = {yard.port}\n")
        printed = type_in(yard, tmp_path)
        assert "trainer    " in printed["up --trainer --detach"]
        assert "j-1 succeeded" in printed["train run hello.yaml"]
        assert "master-0 | rank 0 of 4" in printed["train logs j-1"] and "t-1.0" in printed["train get j-1"]
        assert "rank 3 of 4" in printed["train logs j-1 worker-2"]
        assert "hello" in printed["train ls"]
        attached = printed["train submit hello.yaml --attach"]
        assert "worker-2 | rank 3 of 4" in attached and "j-2 succeeded" in attached
        assert re.search(r"stopped|draining", printed["train get j-3"])
        assert "seen enough" in printed["train get j-3"]
        assert "why        9 of 9 trials" not in printed["train sweep run search.yaml"], (
            "some were stopped early"
        )
        assert "best command: python descend.py 0." in printed["train sweep get s-1"]
        assert printed["train sweep get s-1 --csv"].count("\n") == 10
