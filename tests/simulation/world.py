"""One simulated yard: built from a seed, run through faults, healed, drained, and checked.

`simulate` is the way in. Owns the phases of a run and what must be true at its end.
"""

from __future__ import annotations

import msgspec

from services.chassis.errors import InvariantViolation
from services.scheduler.model import TERMINAL, format_task_id, task_key
from services.scheduler.resources import SCALE
from tests.simulation.agent_host import AgentHost
from tests.simulation.computer import Computer
from tests.simulation.disk import Disk
from tests.simulation.faults import Faults
from tests.simulation.history import History
from tests.simulation.kernel import SECOND, Kernel, Violation
from tests.simulation.leftovers import Leftovers
from tests.simulation.network import Network
from tests.simulation.people.crowd import Crowd
from tests.simulation.promises.every import all_promises
from tests.simulation.scheduler_host import SchedulerHost
from tests.simulation.story import tell
from tests.simulation.watcher import Watcher
from tests.simulation.workload import GIB

# Once everything works again tasks must go on ending, one at least in this time, until none is left.
PROGRESS_US = 120 * SECOND
MOST_US = 7_200 * SECOND


class Outcome(msgspec.Struct):
    """How the run of a seed ended."""

    seed: int
    trace_hash: str
    counts: dict[str, int]
    faults: dict[str, int]
    events: int
    drain_us: int
    failure: str = ""
    story: tuple[str, ...] = ()


class World:
    """Everything of one run."""

    def __init__(self, seed: int, trace_lines: int = 4_000, menu: frozenset[str] | None = None) -> None:
        self.seed = seed
        self.kernel = kernel = Kernel(seed, trace_lines)
        rng = kernel.random
        self.history = History(kernel)
        self.disk = Disk()
        self.network = Network(kernel)
        self.scheduler = SchedulerHost(kernel, self.disk, self.history, self.network)
        names = [f"n{index}" for index in range(rng.randint(1, 5))]
        has_gpu = rng.random() < 0.3
        self.agents = {name: self._make_agent(name, has_gpu=has_gpu) for name in names}
        self.crowd = Crowd(kernel, self.scheduler, self.history, names, menu, has_gpu=has_gpu)
        self.faults = Faults(kernel, self.network, self.scheduler, self.agents)
        self.watcher = Watcher(kernel, self.scheduler, self.history)
        self.leftovers = Leftovers(kernel, self.network, self.scheduler, self.agents, self.history)
        self.scheduler.promises = all_promises(seed, self.scheduler, self.history)
        self.busy_us = rng.choice((10, 20, 30, 60)) * SECOND
        self.drain_us = 0

    def _make_agent(self, name: str, *, has_gpu: bool) -> AgentHost:
        rng = self.kernel.random
        is_first = name == "n0"
        capacity = {"cpu": rng.choice((2, 2, 4)) * SCALE, "memory": rng.choice((2, 8)) * GIB}
        if has_gpu and (is_first or rng.random() < 0.3):
            capacity["gpu"] = rng.choice((1, 2)) * SCALE
        computer = Computer(self.kernel, self.history, name, capacity)
        agent = AgentHost(self.kernel, computer, self.network, self.scheduler)
        if is_first or rng.random() < 0.5:
            agent.labels = {"zone": "a"}
        return agent

    def run(self) -> None:
        """Raises what was broken."""
        kernel = self.kernel
        self.scheduler.start()
        for agent in self.agents.values():
            kernel.after(kernel.between(0, 3 * SECOND), self.faults.start_agent, agent)
        kernel.after(2 * SECOND, self.crowd.act)
        kernel.after(kernel.between(SECOND, 6 * SECOND), self.faults.act)
        self.leftovers.look()
        kernel.run(self.busy_us)
        self.faults.heal()
        self.crowd.tidy()
        begin_us = kernel.now_us
        kernel.run(begin_us + MOST_US, lambda: self._is_drained() or self._is_stuck(begin_us))
        self.drain_us = kernel.now_us - begin_us
        if not self._is_drained():
            raise self._stuck()
        # What has been acknowledged is forgotten, what was released is shown, quotes end.
        kernel.run(kernel.now_us + 45 * SECOND)
        self._check_end()

    def _is_drained(self) -> bool:
        history = self.history
        return (
            history.counts["tasks made"] == history.counts["tasks ended"]
            and not self.crowd.caller.open_requests
            and not self.scheduler.state.tasks
            and not any(
                agent.state.tasks or agent.is_leaving or not agent.link.is_open
                for agent in self.agents.values()
            )
        )

    def _is_stuck(self, begin_us: int) -> bool:
        return self.kernel.now_us - max(begin_us, self.history.last_end_us) > PROGRESS_US

    def _stuck(self) -> Violation:
        waiting = [k for k, task in self.history.tasks.items() if task.state not in TERMINAL]
        left = [f"{key} on {name}" for name, agent in self.agents.items() for key in agent.state.tasks]
        names = [format_task_id(key) for key in waiting]
        return Violation(
            f"not drained: tasks {names[:8]}, agents have {left[:8]}, "
            f"{self.crowd.caller.open_requests} requests open",
            *names[:3],
        )

    def _check_end(self) -> None:
        self._check_disk()
        for node in self.scheduler.state.cluster.nodes.values():
            if any(node.reserved.values()) or node.tasks or node.prefilled or node.expected:
                raise Violation(f"{node.id} still has reservations: {node.reserved}", node.id)
            if node.rooms:
                raise Violation(f"{node.id} still keeps room for {node.rooms}", node.id)
            if any(left != SCALE for left in node.devices.left):
                raise Violation(f"{node.id} still has devices taken", node.id)
        self._check_shares()
        for agent in self.agents.values():
            self._check_agent(agent)
        for promise in self.scheduler.promises:
            promise.check_end()
        self.watcher.check()

    def _check_shares(self) -> None:
        """Nobody holds anything of anything any more."""
        state = self.scheduler.state
        tenancy = state.waiting.tenancy
        holders = [*tenancy.queues.values(), *tenancy.accounts.values(), *tenancy.tenants.values()]
        for holder in [*holders, *tenancy.caps.values()]:
            if holder.running_count or any(holder.held.values()):
                raise Violation(f"{holder} still holds {holder.running_count} tasks: {holder.held}")
        left = (state.quotes.live, state.apart, state.held_nodes, state.preemptions, state.originals)
        if any(left):
            raise Violation(f"quotes, apart, kept nodes, preemptions or originals are left: {left}")

    def _check_agent(self, agent: AgentHost) -> None:
        computer = agent.computer
        if not agent.link.is_open:
            raise Violation(f"{agent.name} is not connected", agent.name)
        if agent.state.free != agent.state.capacity:
            raise Violation(f"{agent.name} still holds resources", agent.name)
        if computer.records:
            raise Violation(f"{agent.name} keeps the records {list(computer.records)}", agent.name)
        for worker in computer.workers.values():
            if worker.running or worker.waiting or worker.reports:
                raise Violation(f"{agent.name}: {worker.name} still has {list(worker.reports)}", agent.name)

    def _check_disk(self) -> None:
        """Every acknowledged task has exactly one outcome on disk."""
        if self.disk.query("PRAGMA integrity_check") != [("ok",)]:
            raise Violation("the database is damaged")
        outcomes = dict(
            self.disk.query("SELECT task, count(*) FROM change WHERE state IN (4, 5, 6) GROUP BY task")
        )
        for submission in self.crowd.clients.submissions:
            if not submission.first:
                continue
            for number in range(submission.first, submission.first + len(submission.items)):
                if outcomes.get(task_key(number)) != 1:
                    raise Violation(f"t-{number} was acknowledged and has no outcome", f"t-{number}")


def simulate(seed: int, lines: int = 60, menu: frozenset[str] | None = None) -> Outcome:
    """Runs one seed to its end or to its first failure. ``menu``: what clients use, if not what the seed draws."""
    world = World(seed, max(lines, 4_000), menu)
    failure = ""
    story: tuple[str, ...] = ()
    try:
        world.run()
    except (Violation, InvariantViolation) as error:
        failure = f"{type(error).__name__}: {error}"
        story = _story(world, getattr(error, "subjects", ()), lines)
    except Exception as error:
        # A machine that raises is a failure of the seed as much as a broken promise.
        error.add_note(f"seed {seed}\n" + "\n".join(_story(world, (), lines)))
        raise
    finally:
        world.disk.close()
    return Outcome(
        seed, world.kernel.trace_hash(), dict(world.history.counts), world.faults.injected, world.kernel.events,
        world.drain_us, failure, story,
    )  # fmt: skip


def _story(world: World, subjects: tuple[str, ...], lines: int) -> tuple[str, ...]:
    return tell(world.kernel, world.disk, world.scheduler.state, subjects, lines)
