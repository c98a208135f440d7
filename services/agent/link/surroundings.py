"""What a session says of the machine and of the node itself: hello, beats, credentials.

Owns the samples of a minute and since when a command's effect can be seen in them. Tasks are not its part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import grpc.aio

from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1 import node_pb2
from services.agent.config import AgentConfig
from services.agent.host.gpus import Gpus
from services.agent.host.host import offered_shares
from services.agent.host.sampler import Sampler
from services.agent.link.join import Credentials
from services.agent.preparation.artifacts import Artifacts
from services.agent.tasks.model import Phase
from services.agent.tasks.state import State
from services.agent.workers.workers import Workers
from services.chassis.clock import Clock

VISIBLE_MS = 10_000
"""After so long a command's effect stands in the window that placement uses."""
SAMPLED_AFTER_MS = 1_000
"""Tasks that run for less are not worth a look at their processes."""


class Surroundings:
    """One node as its sessions see it."""

    def __init__(
        self,
        config: AgentConfig,
        hello: pb.Hello,
        credentials: Credentials,
        artifacts: Artifacts,
        state: State,
        workers: Workers,
        clock: Clock,
        run_beside: Callable[[str, Coroutine[Any, Any, None]], None],
    ) -> None:
        self._config = config
        self._hello = hello
        self._credentials = credentials
        self._artifacts = artifacts
        self._state = state
        self._workers = workers
        self._clock = clock
        self._run_beside = run_beside
        gpus = Gpus.open() if hello.capacity.gpu_devices else None
        if gpus is not None:
            gpus.offer(hello.capacity.gpu_devices)
        self._sampler = Sampler(*offered_shares(hello.capacity), gpus.busy if gpus is not None else None)
        self._visible: deque[tuple[int, int]] = deque()
        self._lag_ms = 0.0

    @property
    def enforcement(self) -> str:
        """How limits are enforced."""
        return self._hello.enforcement

    @property
    def loop_lag_ms(self) -> float:
        """How late the last look came."""
        return self._lag_ms

    def look(self, now_ms: int, lag_ms: float = 0.0) -> None:
        """Takes a sample; once a second."""
        self._lag_ms = lag_ms
        self._sampler.look(now_ms)
        self._visible.append((now_ms, self._state.last_command))

    async def channel(self) -> grpc.aio.Channel:
        """A new channel with the node's present credentials; raises as `Credentials.agent_channel`."""
        return await self._credentials.agent_channel()

    def hello(self) -> pb.Hello:
        """Everything about this machine, but its tasks; command numbers begin anew."""
        hello = pb.Hello()
        hello.CopyFrom(self._hello)
        self._visible.clear()
        return hello

    def beat(self) -> pb.Beat:
        """What the machine is busy with."""
        now_ms = self._clock.monotonic_ms()
        windows = [
            node_pb2.WindowUsage(window_s=w.window_s, cpu=w.cpu, memory_bytes=w.memory_bytes, gpu=w.gpu)
            for w in self._sampler.windows()
        ]
        tasks = [
            pb.TaskSample(task_id=task_id, cpu=usage.cpu, memory_bytes=usage.memory_bytes)
            for task_id, usage in self._sampler.tasks(self._roots(), now_ms).items()
        ]
        return pb.Beat(
            as_of_command=self._as_of(now_ms), windows=windows, loop_lag_ms=self._lag_ms, tasks=tasks
        )

    def renew_in_s(self) -> float | None:
        """Seconds until the credentials are to be renewed; None: they never are."""
        return self._credentials.renew_in_s(self._clock.now_ms())

    def renewal(self) -> pb.RenewCredentials:
        """What to ask for then."""
        return self._credentials.renewal()

    def on_credentials(self, credentials: pb.NodeCredentials) -> None:
        """New credentials have come; the next connections use them."""
        self._credentials.store(credentials, self._clock.now_ms())
        self._run_beside("new credentials", self._artifacts.renew())

    def on_refused(self) -> None:
        """The scheduler does not accept the node's credentials."""
        self._credentials.must_join = bool(self._config.join_token_file)

    def _roots(self) -> dict[str, int]:
        """The worker processes of tasks that run for a while, by task."""
        begun_ms = self._clock.now_ms() - SAMPLED_AFTER_MS
        return {
            task.task_id: pid
            for task in self._state.tasks.values()
            if task.phase is Phase.RUNNING
            and task.start_ms < begun_ms
            and (pid := self._workers.pid(task.worker))
        }

    def _as_of(self, now_ms: int) -> int:
        """The last command whose effect the placement window shows in full."""
        while len(self._visible) > 1 and self._visible[1][0] <= now_ms - VISIBLE_MS:
            self._visible.popleft()
        if self._visible and self._visible[0][0] <= now_ms - VISIBLE_MS:
            return self._visible[0][1]
        return 0
