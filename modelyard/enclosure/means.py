"""What this machine can do for frames: ``python -m modelyard.enclosure.means`` tells it as JSON.

Owns the questions; a process of its own asks them, as finding out about namespaces takes a fork, and an engine that
hangs must hold up nobody.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from modelyard.enclosure.engine import Engine, EngineFailed

_TIMEOUT_S = 5.0
_PROGRAM = f"""import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from modelyard.enclosure.means import main; main()"""


class Means:
    """What was found."""

    def __init__(
        self, engine: str = "", engine_missing: str = "", sandbox: str = "limits", unfiltered: str = ""
    ) -> None:
        self.engine = engine
        """ "Docker 20.10.24"; empty: there is none."""
        self.engine_missing = engine_missing
        """Why not."""
        self.sandbox = sandbox
        """ "full", "namespaces", or "limits" only; see `sandbox`."""
        self.unfiltered = unfiltered
        """Why calls of the kernel are not filtered; empty: they are."""

    def labels(self) -> dict[str, str]:
        """As a node carries them, for who places frames."""
        return {"containers": "yes" if self.engine else "no", "sandbox": self.sandbox}


def find_means() -> Means:
    """Asks; some 40 ms. What cannot be found out is taken as missing."""
    try:
        said = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROGRAM],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_TIMEOUT_S,
            check=True,
        ).stdout
        return Means(**json.loads(said))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return Means(engine_missing=f"it could not be found out: {error}")


def main() -> None:
    """Writes what there is."""
    from modelyard.enclosure.calls import missing as no_filter
    from modelyard.enclosure.sandbox import grade

    engine, missing = "", ""
    try:
        engine = Engine.find(os.environ).version()
    except EngineFailed as error:
        missing = str(error)
    found = {"engine": engine, "engine_missing": missing, "sandbox": grade(), "unfiltered": no_filter()}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
