"""Looks, once a second, for work that nobody wants any more and that runs on (promise 7), or that runs though it is
to be suspended, or is suspended though it may go on.

Only where everything has been well for a while: agent and scheduler awake and connected.
"""

from __future__ import annotations

from services.scheduler.model import TaskState, parse_task_id
from tests.simulation.agent_host import AgentHost
from tests.simulation.history import History
from tests.simulation.kernel import SECOND, Kernel, Violation
from tests.simulation.network import Network
from tests.simulation.scheduler_host import SchedulerHost
from tests.simulation.worker import Work, WorkerProcess

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
        self._since_us: dict[tuple[str, str, str], int] = {}

    def look(self) -> None:
        wrong: dict[tuple[str, str, str], int] = {}
        for agent in self.agents.values():
            if self._is_well(agent):
                for worker in agent.computer.workers.values():
                    if worker.running is not None and (what := self._objection(worker, worker.running)):
                        which = (agent.name, worker.running.key, what)
                        wrong[which] = self._since_us.get(which, self.kernel.now_us)
        for (node, key, what), since_us in wrong.items():
            if self.kernel.now_us - since_us > MOST_US:
                raise Violation(f"{key} {what} at {node}", node, key.split("/")[0])
        self._since_us = wrong
        self.kernel.after(SECOND, self.look)

    def _objection(self, worker: WorkerProcess, work: Work) -> str:
        task = self.scheduler.state.tasks.get(parse_task_id(work.task))
        if not self.history.is_current(work) or task is None or task.stop is not None:
            return "is over and runs on"
        if task.wants_suspension and not worker.is_halted:
            return "is to be suspended and runs on"
        may_go_on = task.state is TaskState.RUNNING and not task.wants_suspension
        return "may go on and is stopped" if may_go_on and worker.is_halted else ""

    def _is_well(self, agent: AgentHost) -> bool:
        scheduler = self.scheduler
        return (
            agent.is_up
            and not agent.is_paused
            and not agent.is_deaf
            and agent.link.is_open
            and scheduler.is_serving
            and not scheduler.is_paused
            and not scheduler.is_disk_full
            and not self.network.is_cut(agent.name)
        )
