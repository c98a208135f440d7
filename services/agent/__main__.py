"""yard-agent: reads its configuration and runs the agent of this machine."""

import os
import sys

from services.agent.config import AgentConfig
from services.chassis.process import transport
from services.chassis.process.config import load


def main() -> int:
    config = load(AgentConfig, sys.argv[1:], os.environ, "yard-agent")
    transport.settle()

    from services.agent.service import run

    return run(config)


if __name__ == "__main__":
    raise SystemExit(main())
