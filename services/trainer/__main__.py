"""yard-trainer: reads its configuration and hands over to the chassis."""

import os
import sys

from services.chassis.process import bootstrap, transport
from services.chassis.process.config import load
from services.trainer.config import TrainerConfig


def main() -> int:
    config = load(TrainerConfig, sys.argv[1:], os.environ, "yard-trainer")
    transport.settle()

    from services.trainer.service import TrainerService

    return bootstrap.run(TrainerService, config)


if __name__ == "__main__":
    raise SystemExit(main())
