"""The environment of the proofs with real frameworks: made once for each content of its requirements, then used again.

`python tests/frameworks/environment.py` prints the path of its interpreter. It lies outside of the checkout, below
$XDG_CACHE_HOME or ~/.cache, because it takes gigabytes and minutes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).parent
COMPLETE = "complete"
UNUSED_S = 14 * 24 * 3600


def main() -> int:
    needs = requirements()
    digest = sha256("\n".join((sys.version, *needs)).encode()).hexdigest()[:12]
    home = cache() / f"frameworks-{digest}"
    with locked(home.with_suffix(".lock")):
        if not (home / COMPLETE).exists():
            make(home, needs)
        # Says when it was used last.
        (home / COMPLETE).touch()
    forget_unused(home)
    print(home / "bin" / "python")
    return 0


def requirements() -> list[str]:
    """Of the frameworks, and of the suite: its processes run in the same environment."""
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in (*lines, *project["dependencies"]) if line and not line.startswith("#")]


def cache() -> Path:
    """Where environments are kept; it is there."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base) / "modelyard"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Two who want the same environment make it once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make(home: Path, needs: list[str]) -> None:
    """A new environment, whose mark comes last: what was left half made is made again."""
    begun = time.monotonic()
    print(f"installing frameworks into {home}: some minutes, once", file=sys.stderr, flush=True)
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    # pip and no other: a build of torch without what GPUs need may be known to its configuration only.
    subprocess.run([*pip, "install", "--quiet", "--no-cache-dir", *needs], check=True, stdout=sys.stderr)
    subprocess.run([*pip, "check"], check=True, stdout=sys.stderr)
    (home / COMPLETE).touch()
    print(f"installed in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)


def forget_unused(used: Path) -> None:
    """Takes away those that nobody has used for two weeks."""
    for mark in used.parent.glob(f"frameworks-*/{COMPLETE}"):
        if mark.parent != used and time.time() - mark.stat().st_mtime > UNUSED_S:
            shutil.rmtree(mark.parent, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
