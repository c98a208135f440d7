"""Makes the authority and the server certificate of a yard: `python -m cli.supervisor.certificates STATE HOST…`.

A process of its own, because what it loads would stay in the supervisor's memory for good.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Makes what is missing. Idempotent."""
    from services.chassis.process.tls import ensure_server_files

    ensure_server_files(Path(arguments[0]), arguments[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
