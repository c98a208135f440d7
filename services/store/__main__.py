"""`yard-store`: reads the configuration and hands over to the chassis."""

import os
import sys

from services.chassis.bootstrap import run
from services.chassis.config import load
from services.store.config import StoreConfig


def main() -> int:
    """Runs until SIGTERM; returns the exit code."""
    from services.store.service import StoreService

    config = load(StoreConfig, sys.argv[1:], os.environ, "yard-store")
    return run(StoreService, config)


if __name__ == "__main__":
    raise SystemExit(main())
