"""The link to the scheduler: dialled, kept, and dialled again.

Owns when to dial and with how much patience. What is said and heard on one stream is `session`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import grpc
import grpc.aio

from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1.agent_link_pb2_grpc import AgentLinkServiceStub
from services.agent.link.epoch import Epoch, EpochStale
from services.agent.link.join import SchedulerUnreachable
from services.agent.link.session import AgentCall, Session, SessionEnded
from services.agent.link.surroundings import Surroundings
from services.agent.messages.specifications import Specifications
from services.agent.tasks.events import Event
from services.agent.tasks.state import State
from services.chassis.clock import Clock
from services.chassis.logs import get_logger

_log = get_logger("agent.link")

FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 5.0
SETTLED_MS = 10_000
"""After a session of this length the next failure is the first one again."""


class Link:
    """Speaks for one state with one scheduler, session after session."""

    def __init__(
        self,
        state: State,
        dispatch: Callable[[Event], None],
        specifications: Specifications,
        surroundings: Surroundings,
        clock: Clock,
        epoch_path: Path,
    ) -> None:
        self._state = state
        self._dispatch = dispatch
        self._specifications = specifications
        self._around = surroundings
        self._clock = clock
        self._epoch = Epoch(epoch_path)
        self._session: Session | None = None
        self.welcomed = asyncio.Event()
        """Set once the first Welcome has come."""

    async def run(self) -> None:
        """Dials for ever; each failure waits longer, with jitter. Cancel it to stop."""
        pause_s = FIRST_PAUSE_S
        while True:
            began_ms = self._clock.monotonic_ms()
            asked_s = 0.0
            try:
                await self._hold_session()
            except SessionEnded as ended:
                _log.info("session_ended", reason=str(ended))
                pause_s, asked_s = FIRST_PAUSE_S, ended.pause_s
            except (EpochStale, TimeoutError) as error:
                _log.warning("session_refused", reason=str(error))
            except (SchedulerUnreachable, asyncio.InvalidStateError) as error:
                # The latter where the stream has ended between two messages, before it was heard that it has.
                _log.warning("scheduler_not_reached", reason=str(error))
            except grpc.aio.AioRpcError as error:
                if _report(error):
                    self._around.on_refused()
            if self._clock.monotonic_ms() - began_ms > SETTLED_MS:
                pause_s = FIRST_PAUSE_S
            await self._clock.sleep(max(asked_s, pause_s) * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, LAST_PAUSE_S)

    @property
    def is_connected(self) -> bool:
        """Whether there is a session."""
        return self._session is not None

    def notify(self, *, urgent: bool) -> None:
        """Something waits to be said; without a session the next hello says it."""
        if self._session is not None:
            self._session.notify(urgent=urgent)

    def say(self, message: pb.ConnectRequest) -> None:
        """Says something in the present session, in front of everything else; dropped without one."""
        if self._session is not None:
            self._session.say(message)

    async def say_bye(self, reason: str) -> None:
        """Ends the session in good order, if there is one."""
        if self._session is not None:
            await self._session.say_bye(reason)

    def used_bodies(self) -> set[int]:
        """Numbers of the specifications that tasks or the session refer to."""
        own = self._session.used_bodies() if self._session is not None else set()
        return own | {task.body.number for task in self._state.tasks.values()}

    async def _hold_session(self) -> None:
        channel = await self._around.channel()
        try:
            call: AgentCall = AgentLinkServiceStub(channel).Connect()
            session = self._session = Session(
                call,
                self._state,
                self._dispatch,
                self._specifications,
                self._around,
                self._clock,
                self._epoch,
            )
            await session.open()
            self.welcomed.set()
            await session.hold()
        finally:
            if self._session is not None:
                self._session.close()
                self._session = None
            await channel.close()


def _report(error: grpc.aio.AioRpcError) -> bool:
    """Logs why there is no session; whether the scheduler did not accept who this is."""
    code = error.code()
    refused = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    if code in refused:
        _log.error(
            "scheduler_refused",
            code=code.name,
            reason=error.details(),
            next_step="have the node join again: yard nodes token, then start the agent with that token",
        )
    else:
        _log.warning("scheduler_not_reached", code=code.name, reason=error.details())
    return code in refused
