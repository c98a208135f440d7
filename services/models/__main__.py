"""yard-models: reads its configuration and hands over to the chassis."""

import os
import sys

from services.chassis.process import bootstrap, transport
from services.chassis.process.config import load
from services.models.config import ModelsConfig


def main() -> int:
    config = load(ModelsConfig, sys.argv[1:], os.environ, "yard-models")
    transport.settle()

    from services.models.service import ModelsService

    return bootstrap.run(ModelsService, config)


if __name__ == "__main__":
    raise SystemExit(main())
