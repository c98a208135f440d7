"""Environments of programs that cannot live in ours: made once for each content of their requirements, then used again.

They lie outside of the checkout, below $XDG_CACHE_HOME or ~/.cache, as that of the frameworks does. uv makes them, from
what it has cached if it can: seconds, where pip takes a minute.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from uv import find_uv_bin

from tests.frameworks.environment import COMPLETE, cache, locked


class NotInstallable(Exception):
    """The environment cannot be made here; the message is uv's own."""


def interpreter(name: str, requirements: Path, *, compiled: bool = False) -> Path:
    """Python of the environment with what the file `requirements` lists. Raises NotInstallable.

    `compiled`: all of it is byte code before its first start, which can be measured then.
    """
    content = f"{sys.version}\n{compiled or ''}{requirements.read_text(encoding='utf-8')}"
    home = cache() / f"{name}-{sha256(content.encode()).hexdigest()[:12]}"
    with locked(home.with_suffix(".lock")):
        if not (home / COMPLETE).exists():
            shutil.rmtree(home, ignore_errors=True)
            _uv("venv", "--quiet", "--python", sys.executable, str(home))
            compilation = ["--compile-bytecode"] if compiled else []
            needs = ["--python", str(home), "--requirement", str(requirements)]
            _uv("pip", "install", "--quiet", *compilation, *needs)
            (home / COMPLETE).touch()
    return home / "bin" / "python"


def _uv(*words: str) -> None:
    done = subprocess.run([find_uv_bin(), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstallable(done.stderr.strip())
