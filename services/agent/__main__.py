"""`yard-agent`: runs the agent of this machine."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Reads the configuration and runs until told to stop."""
    from services.agent.config import AgentConfig
    from services.chassis.config import load

    config = load(AgentConfig, sys.argv[1:], os.environ, "yard-agent")

    from services.agent.service import run

    sys.exit(run(config))


if __name__ == "__main__":
    main()
