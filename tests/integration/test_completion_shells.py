"""Completion as the shells do it: each loads the script that `yard completion` prints, and is asked (issue 7.6)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.yard_process import environment

BASH = """
eval "$(yard completion bash)"
complete -p yard | grep -q _yard_completion || exit 1
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_yard_completion yard
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
compdef() {{ print -r -- "compdef $*"; }}
_arguments() {{ print -r -- "$@"; }}
_describe() {{ print -r -- "$@"; }}
_files() {{ :; }}
eval "$(yard completion zsh)"
words=({words}); CURRENT=${{#words}}
_yard_completion
"""
"""zsh's own functions only show what they would offer: it completes at a keyboard alone."""
FISH = """
yard completion fish | source
complete --do-complete "{line}"
"""


def asked(shell: str, script: str, state: Path) -> str:
    """What the shell prints; the test is skipped where there is no such shell."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**environment(state), "PATH": path, "HOME": str(state)}
    plain = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [shell, *plain, "-c", script], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("yard ta", "tasks"),
        ("yard train sw", "sweep"),
        ("yard run --prio", "--priority"),
        ("yard model de", "deploy"),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_offers_what_there_is(shell: str, typed: str, offered: str, tmp_path: Path) -> None:
    template = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]
    shown = asked(shell, template.format(words=typed, line=typed), tmp_path)
    assert offered in shown, shown
    assert "nodes" not in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_says_nothing_where_there_is_no_yard(shell: str, tmp_path: Path) -> None:
    typed = "yard tasks get t"
    template = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]
    shown = asked(shell, template.format(words=typed, line=typed), tmp_path)
    assert "t-" not in shown and "Traceback" not in shown
