"""Looks, once a second, for work that nobody wants any more and that runs on (promise 7).

Only where everything has been well for a while: agent and scheduler awake and connected.
"""

from __future__ import annotations

from services.scheduler.model import parse_task_id
from tests.simulation.agent_host import AgentHost
from tests.simulation.history import History
from tests.simulation.kernel import SECOND, Kernel, Violation
from tests.simulation.network import Network
from tests.simulation.scheduler_host import SchedulerHost
from tests.simulation.worker import Work

MOST_US = 10 * SECOND


class Leftovers:
    """Remembers since when each unwanted work could have been ended."""

    def __init__(
        self,
        kernel: Kernel,
        network: Network,
        scheduler: SchedulerHost,
        agents: dict[str, AgentHost],
        history: History,
    ) -> None:
        self.kernel = kernel
        self.network = network
        self.scheduler = scheduler
        self.agents = agents
        self.history = history
        self._since_us: dict[tuple[str, str], int] = {}

    def look(self) -> None:
        unwanted: dict[tuple[str, str], int] = {}
        for agent in self.agents.values():
            if self._is_well(agent):
                for worker in agent.computer.workers.values():
                    if worker.running is not None and self._is_unwanted(worker.running):
                        which = (agent.name, worker.running.key)
                        unwanted[which] = self._since_us.get(which, self.kernel.now_us)
        for (node, key), since_us in unwanted.items():
            if self.kernel.now_us - since_us > MOST_US:
                raise Violation(f"{key} is over and runs on at {node}", node, key.split("/")[0])
        self._since_us = unwanted
        self.kernel.after(SECOND, self.look)

    def _is_unwanted(self, work: Work) -> bool:
        task = self.scheduler.state.tasks.get(parse_task_id(work.task))
        return not self.history.is_current(work) or (task is not None and task.stop is not None)

    def _is_well(self, agent: AgentHost) -> bool:
        scheduler = self.scheduler
        return (
            agent.is_up
            and not agent.is_paused
            and agent.link.is_open
            and scheduler.is_serving
            and not scheduler.is_paused
            and not scheduler.is_disk_full
            and not self.network.is_cut(agent.name)
        )
