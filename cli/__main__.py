"""`yard`, and `python -m cli`."""

from __future__ import annotations

import sys


def main() -> int:
    """Runs one command line; returns its exit code."""
    if sys.argv[1:] in (["--version"], ["version"]):
        from modelyard.version import VERSION

        sys.stdout.write(f"yard {VERSION}\n")
        return 0
    from cli.app import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
