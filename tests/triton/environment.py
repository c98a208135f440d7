"""The environment of the stock client: made once for each content of its requirements, then used again.

`python tests/triton/environment.py` prints the path of its interpreter. It lies outside of the checkout, below
$XDG_CACHE_HOME or ~/.cache, as that of the frameworks does.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.frameworks.environment import COMPLETE, cache, locked  # noqa: E402


def main() -> int:
    print(interpreter())
    return 0


def interpreter() -> Path:
    """Of the environment, which is made if there is none."""
    file = HERE / "requirements.txt"
    digest = sha256(f"{sys.version}\n{file.read_text(encoding='utf-8')}".encode()).hexdigest()[:12]
    home = cache() / f"triton-{digest}"
    with locked(home.with_suffix(".lock")):
        if not (home / COMPLETE).exists():
            _make(home, file)
    return home / "bin" / "python"


def _make(home: Path, requirements: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "install", "--quiet", "--requirement", str(requirements)], check=True, stdout=sys.stderr
    )
    (home / COMPLETE).touch()


if __name__ == "__main__":
    raise SystemExit(main())
