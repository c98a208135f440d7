"""yard-store: reads its configuration and hands over to the chassis."""

import os
import sys

from services.chassis.process import bootstrap, transport
from services.chassis.process.config import load
from services.store.config import StoreConfig


def main() -> int:
    config = load(StoreConfig, sys.argv[1:], os.environ, "yard-store")
    transport.settle()

    from services.store.service import StoreService

    return bootstrap.run(StoreService, config)


if __name__ == "__main__":
    raise SystemExit(main())
