"""yard-graph: reads its configuration and hands over to the chassis."""

import os
import sys

from services.chassis.process import bootstrap, transport
from services.chassis.process.config import load
from services.graph.config import GraphConfig


def main() -> int:
    config = load(GraphConfig, sys.argv[1:], os.environ, "yard-graph")
    transport.settle()

    from services.graph.service import GraphService

    return bootstrap.run(GraphService, config)


if __name__ == "__main__":
    raise SystemExit(main())
