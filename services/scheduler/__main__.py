"""yard-scheduler: reads its configuration and hands over to the chassis."""

import os
import sys

from services.chassis.process import bootstrap, transport
from services.chassis.process.config import load
from services.scheduler.config import SchedulerConfig


def main() -> int:
    config = load(SchedulerConfig, sys.argv[1:], os.environ, "yard-scheduler")
    transport.settle()

    from services.scheduler.service import SchedulerService

    return bootstrap.run(SchedulerService, config)


if __name__ == "__main__":
    raise SystemExit(main())
