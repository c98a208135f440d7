"""What goes wrong, when, and for how long. Each seed draws which kinds it has (swarm testing).

Every fault that is begun is healed by its own time or by `heal`, after which nothing goes wrong any more.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.agent_host import AgentHost
from tests.simulation.kernel import MS, SECOND, Kernel
from tests.simulation.network import DOWN, UP, Network
from tests.simulation.scheduler_host import SchedulerHost


class Faults:
    """Begins faults at random instants until it is told to heal."""

    def __init__(
        self, kernel: Kernel, network: Network, scheduler: SchedulerHost, agents: dict[str, AgentHost]
    ) -> None:
        self.kernel = kernel
        self.network = network
        self.scheduler = scheduler
        self.agents = agents
        self.names = list(agents)
        self.is_active = True
        self.injected: dict[str, int] = {}
        kinds: dict[str, Callable[[], None]] = {
            "scheduler killed": self._kill_scheduler,
            "scheduler stopped": self._stop_scheduler,
            "agent killed": self._kill_agent,
            "agent stopped": self._stop_agent,
            "agent left": self._leave,
            "agent deaf": self._deafen,
            "node flapping": self._flap,
            "machine rebooted": self._reboot,
            "worker killed": self._kill_worker,
            "node cut off": self._cut_one,
            "nodes cut off": self._cut_several,
            "node silent one way": self._silence,
            "streams broken": self._break_streams,
            "network slow": self._slow_network,
            "disk full": self._fill_disk,
            "disk slow": self._slow_disk,
            "swizzle": self._swizzle,
        }
        rng = kernel.random
        share = rng.choice((0.2, 0.5, 1.0))
        self._kinds = {name: begin for name, begin in kinds.items() if rng.random() < share}
        self._pause_us = rng.choice((2 * SECOND, 6 * SECOND, 15 * SECOND))

    def act(self) -> None:
        """Begins a fault, and another one later."""
        if not self.is_active or not self._kinds:
            return
        name = self.kernel.random.choice(list(self._kinds))
        self.injected[name] = self.injected.get(name, 0) + 1
        self.kernel.trace("faults", name)
        self._kinds[name]()
        self.kernel.after(self.kernel.between(10 * MS, 2 * self._pause_us), self.act)

    def heal(self) -> None:
        """Everything works from now on."""
        self.is_active = False
        self.kernel.trace("faults", "healed")
        self._end_slow_network()
        self._end_disk_full()
        self._end_slow_disk()
        for name in self.names:
            self.network.heal(name)
        if self.scheduler.is_up:
            self.scheduler.resume()
        else:
            self._start_scheduler()
        for name in self.names:
            agent = self.agents[name]
            agent.listen()
            agent.resume()
            self.start_agent(agent)

    def _lasting(self, most_s: int) -> int:
        return self.kernel.between(10 * MS, most_s * SECOND)

    def _agent(self) -> AgentHost:
        return self.agents[self.kernel.random.choice(self.names)]

    # Processes

    def _kill_scheduler(self) -> None:
        if self.scheduler.is_up:
            self.scheduler.kill()
        self.kernel.after(self._lasting(25), self._start_scheduler)

    def _start_scheduler(self) -> None:
        if not self.scheduler.is_up:
            self.scheduler.start()

    def _stop_scheduler(self) -> None:
        """SIGSTOP; 60 s of it must lose no node. Peers may find their keepalive unanswered."""
        scheduler = self.scheduler
        if not scheduler.is_up or scheduler.is_paused:
            return
        scheduler.pause()
        lasting_us = self.kernel.random.choice((SECOND, 3 * SECOND, 20 * SECOND, 60 * SECOND))
        self.kernel.after(lasting_us, scheduler.resume)
        if self.kernel.chance(0.5):
            for stream in list(self.network.streams.values()):
                delay_us = self.kernel.between(15 * SECOND, 45 * SECOND)
                if delay_us < lasting_us:
                    self.kernel.after(delay_us, stream.break_at, DOWN)

    def _kill_agent(self) -> None:
        agent = self._agent()
        if agent.is_up:
            agent.kill()
        # Half of them are started again at once, as a service manager does.
        self.kernel.after(self._lasting(40 if self.kernel.chance(0.5) else 1), self.start_agent, agent)

    def start_agent(self, agent: AgentHost) -> None:
        if not agent.is_up:
            agent.start()

    def _stop_agent(self) -> None:
        agent = self._agent()
        if agent.is_up and not agent.is_paused:
            agent.pause()
            self.kernel.after(self._lasting(60), agent.resume)

    def _leave(self) -> None:
        agent = self._agent()
        agent.leave(self.kernel.random.choice((0, 2_000, 20_000)))
        self.kernel.after(40 * SECOND, self.start_agent, agent)

    def _deafen(self) -> None:
        agent = self._agent()
        agent.is_deaf = True
        self.kernel.after(self._lasting(60), agent.listen)

    def _flap(self) -> None:
        """Its stream is lost again and again, shortly after it is back."""
        name = self.kernel.random.choice(self.names)
        at_us = 0
        for _ in range(self.kernel.random.randint(5, 15)):
            at_us += self._lasting(8)
            self.kernel.after(at_us, self._flap_once, name)

    def _flap_once(self, name: str) -> None:
        if self.is_active:
            self.network.break_streams(name)

    def _reboot(self) -> None:
        agent = self._agent()
        if agent.is_up:
            agent.kill()
        agent.computer.reboot()
        self.kernel.after(self._lasting(60), self.start_agent, agent)

    def _kill_worker(self) -> None:
        computer = self._agent().computer
        if computer.workers:
            computer.kill_worker(self.kernel.random.choice(list(computer.workers)))

    # The network

    def _cut(self, names: list[str], directions: set[str], lasting_us: int) -> None:
        for name in names:
            if not self.network.is_cut(name):
                self.network.cut(name, directions)
                self.kernel.after(lasting_us, self.network.heal, name)

    def _cut_one(self) -> None:
        self._cut([self.kernel.random.choice(self.names)], {UP, DOWN}, self._lasting(60))

    def _cut_several(self) -> None:
        names = self.kernel.random.sample(self.names, self.kernel.random.randint(1, len(self.names)))
        self._cut(names, {UP, DOWN}, self._lasting(60))

    def _silence(self) -> None:
        direction = self.kernel.random.choice((UP, DOWN))
        self._cut([self.kernel.random.choice(self.names)], {direction}, self._lasting(60))

    def _swizzle(self) -> None:
        """Cuts a random subset one by one, and heals in another order."""
        rng = self.kernel.random
        names = rng.sample(self.names, rng.randint(1, len(self.names)))
        at_us = 0
        for name in names:
            at_us += self._lasting(5)
            self.kernel.after(at_us, self._swizzle_cut, name)
        for name in rng.sample(names, len(names)):
            at_us += self._lasting(10)
            self.kernel.after(at_us, self.network.heal, name)

    def _swizzle_cut(self, name: str) -> None:
        if self.is_active:
            self._cut([name], {UP, DOWN}, 90 * SECOND)

    def _break_streams(self) -> None:
        self.network.break_streams(self.kernel.random.choice(self.names))

    def _slow_network(self) -> None:
        self.network.least_us, self.network.most_us = 10 * MS, 2 * SECOND
        self.kernel.after(self._lasting(20), self._end_slow_network)

    def _end_slow_network(self) -> None:
        self.network.least_us, self.network.most_us = 100, 3 * MS

    # The disk

    def _fill_disk(self) -> None:
        self.scheduler.is_disk_full = True
        self.kernel.after(self._lasting(10), self._end_disk_full)

    def _end_disk_full(self) -> None:
        self.scheduler.is_disk_full = False

    def _slow_disk(self) -> None:
        self.scheduler.commit_us = (10 * MS, 900 * MS)
        self.kernel.after(self._lasting(20), self._end_slow_disk)

    def _end_slow_disk(self) -> None:
        self.scheduler.commit_us = (200, 3 * MS)
