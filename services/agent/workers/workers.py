"""The worker processes of this machine: started, connected, found again, ended.

Owns the connections to the launcher and to the workers. A worker is the launcher's child, or an orphan if that
one has died. Decides nothing: the machine says what to start and what to send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from services.agent.config import Places
from services.agent.messages.convert import report_of
from services.agent.messages.decode import THREADS
from services.agent.tasks.events import Event, SeatsReported, WorkerLost, WorkerReady
from services.agent.tasks.model import Pool
from services.agent.workers.launcher_client import LauncherClient, SpawnFailed
from services.agent.workers.launcher_keeper import LauncherKeeper
from services.agent.workers.orphans import Orphans
from services.agent.workers.traces import Traces
from services.agent.workers.worker_client import WorkerClient
from services.chassis.logs import get_logger

Message = dict[str, Any]
_log = get_logger("agent.workers")
_INVENTORY_S = 5.0
_LOST_AFTER_S = 2.0
"""How long the end of a connection may come before the launcher's word about the process."""


class Member:
    """One worker process as this side knows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.client: WorkerClient | None = None
        self.pid = 0
        self.pool: Pool | None = None
        self.is_ready = False
        self.ending: tuple[int, int] | None = None
        self.fate = ""
        self.undelivered: set[str] = set()


class Workers:
    """Every event about workers goes to `tell`."""

    def __init__(
        self,
        places: Places,
        tell: Callable[[Event | SeatsReported], None],
        spawn_task: Callable[[str, Coroutine[Any, Any, None]], object],
        has_gpus: bool,
    ) -> None:
        self._places = places
        self._tell = tell
        self._spawn_task = spawn_task
        self._traces = Traces(places)
        self._orphans = Orphans(self._on_orphan_ended)
        self._launcher = LauncherKeeper(
            self._traces.launcher_socket, places.root, self._on_ended, self._on_launcher_lost
        )
        self._members: dict[str, Member] = {}
        self._base_env = {THREADS: "1", "PYTHONUNBUFFERED": "1"}
        if has_gpus:
            self._base_env["CUDA_VISIBLE_DEVICES"] = ""
        self._closing = False
        # What workers say while others are still being found again; None: nothing is held back.
        self._held: list[Event | SeatsReported] | None = []

    async def open(self) -> list[tuple[str, Pool | None, Message]]:
        """Starts or finds the launcher; what is still there: name, pool and inventory of each worker."""
        await self._launcher.start()
        found = []
        orphans = self._traces.listening(self._launcher.workers)
        for name in (*sorted(self._launcher.workers), *orphans):
            inventory = await self._reconnect(name, is_orphan=name in orphans)
            if inventory is not None:
                found.append((name, self._members[name].pool, inventory))
        self._traces.remove_notes(self._members)
        # The caller takes the inventories over without waiting; what came after them is told then.
        asyncio.get_running_loop().call_soon(self._tell_held)
        return found

    def _say(self, event: Event | SeatsReported) -> None:
        if self._held is None:
            self._tell(event)
        else:
            self._held.append(event)

    def _tell_held(self) -> None:
        held, self._held = self._held or [], None
        for event in held:
            self._tell(event)

    def spawn(self, name: str, pool: Pool | None, python: str, paths: tuple[str, ...]) -> None:
        """Starts a worker; WorkerReady or WorkerLost follows."""
        member = self._members[name] = Member(name)
        member.pool = pool
        if pool is not None:
            self._traces.note(name, pool)
        self._spawn_task(f"spawn {name}", self._spawn(member, python, paths))

    def send(
        self,
        name: str,
        *,
        run: tuple[Message, ...] = (),
        cancel: tuple[Message, ...] = (),
        ack: tuple[str, ...] = (),
        modify: tuple[Message, ...] = (),
        fence: tuple[Message, ...] = (),
        seats: tuple[Message, ...] = (),
        quit: bool = False,
    ) -> None:
        """Sends to a worker; what a lost worker does not get is settled by its WorkerLost."""
        member = self._members.get(name)
        if member is None or member.client is None:
            return
        if member.client.is_open:
            member.client.send(
                run=run, cancel=cancel, ack=ack, modify=modify, fence=fence, seats=seats, quit=quit
            )
        else:
            member.undelivered.update(work["key"] for work in run)

    def claim(self, name: str, pool: Pool) -> None:
        """Notes whose worker it is from now on."""
        member = self._members.get(name)
        if member is not None and member.pool is None:
            member.pool = pool
            self._traces.note(name, pool)

    def kill(self, name: str) -> None:
        """SIGKILL; WorkerLost follows."""
        if name in self._orphans:
            self._orphans.kill(name)
        else:
            self._launcher.kill(name)

    def pid(self, name: str) -> int:
        """The worker's process; 0: it has none yet."""
        member = self._members.get(name)
        return member.pid if member is not None else 0

    def pids(self) -> Mapping[str, int]:
        """All worker processes by name."""
        return {name: member.pid for name, member in self._members.items() if member.pid}

    async def close(self, *, shut_down: bool) -> None:
        """Leaves launcher and workers alone, or ends them all and waits a moment for it."""
        self._closing = True
        for member in self._members.values():
            if member.client is not None:
                member.client.close()
        await self._launcher.close(shut_down=shut_down)
        if shut_down:
            self._orphans.kill_all()
            for name in self._members:
                self._traces.remove(name)
        self._orphans.close()

    async def _reconnect(self, name: str, *, is_orphan: bool) -> Message | None:
        """The inventory of a worker of an earlier agent process; None if it does not answer, and is no more."""
        member = self._members[name] = Member(name)
        member.pool = self._traces.pool(name)
        inventory: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def on_frame(message: Message) -> None:
            if inventory.done():
                self._on_frame(member, message)
            else:
                inventory.set_result(message.get("inventory", {}))

        try:
            member.client = await WorkerClient.connect(
                self._traces.socket(name), on_frame, lambda: self._on_connection_lost(member)
            )
            member.is_ready = True
            found = await asyncio.wait_for(inventory, _INVENTORY_S)
            member.pid = found["pid"]
            if is_orphan and not self._orphans.adopt(name, member.pid):
                raise ProcessLookupError(f"process {member.pid} has just ended")
            return found
        except (OSError, TimeoutError) as error:
            _log.warning("worker_not_found_again", worker=name, reason=str(error))
            del self._members[name]
            self._launcher.kill(name)
            if is_orphan:
                self._traces.remove(name)
            return None

    async def _spawn(self, member: Member, python: str, paths: tuple[str, ...]) -> None:
        env = {**self._base_env, **dict(member.pool.variables)} if member.pool else self._base_env
        try:
            launcher = await self._launcher.client()
            imports = member.pool.imports if member.pool else ()
            member.pid = await self._start(launcher, member.name, python, paths, imports, env)
            member.client = await WorkerClient.connect(
                self._traces.socket(member.name),
                lambda message: self._on_frame(member, message),
                lambda: self._on_connection_lost(member),
            )
        except (SpawnFailed, OSError, TimeoutError) as error:
            if member.ending is None:
                self._launcher.kill(member.name)
            await self._dismiss_unborn(member.name)
            self._lose(member, str(error))

    async def _start(
        self,
        launcher: LauncherClient,
        name: str,
        python: str,
        paths: tuple[str, ...],
        imports: tuple[str, ...],
        env: dict[str, str],
    ) -> int:
        """Its pid. Modules only make it faster: it starts without them where they cannot be imported."""
        path, log_path = self._traces.socket(name), str(self._places.logs / f"{name}.log")
        try:
            return await launcher.spawn(
                name, path, python=python, paths=paths, log_path=log_path, imports=imports, env=env
            )
        except SpawnFailed as error:
            if not imports:
                raise
            _log.warning("warm_parent_failed", worker=name, reason=str(error))
        return await launcher.spawn(name, path, log_path=log_path, env=env)

    async def _dismiss_unborn(self, name: str) -> None:
        """A launcher that died may have forked a worker all the same: it is told to end."""
        try:
            client = await WorkerClient.connect(self._traces.socket(name), lambda _: None, lambda: None)
        except OSError:
            return
        client.send(quit=True)
        client.close()

    def _on_frame(self, member: Member, message: Message) -> None:
        if "inventory" in message:
            if not member.is_ready:
                member.is_ready = True
                self._say(WorkerReady(member.name))
            return
        if "seats" in message:
            self._say(SeatsReported(member.name, tuple(message.pop("seats"))))
        if message:
            self._say(report_of(member.name, message))

    def _on_ended(self, name: str, exit_code: int, signal: int) -> None:
        member = self._members.get(name)
        if member is None:
            return
        member.ending = (exit_code, signal)
        # Its last frames may still be in the socket: they are read before its end counts.
        if member.client is None or not member.client.is_open:
            self._lose(member)

    def _on_orphan_ended(self, name: str, exit_code: int, signal: int) -> None:
        if not signal and name in self._members:
            self._members[name].fate = "it ended, and its launcher, which knew how, had ended before"
        self._on_ended(name, exit_code, signal)

    def _on_connection_lost(self, member: Member) -> None:
        if self._closing or member.name not in self._members:
            return
        if member.ending is not None:
            self._lose(member)
        elif not self._launcher.is_up:
            self._lose(member, "the launcher is lost")
        else:
            asyncio.get_running_loop().call_later(_LOST_AFTER_S, self._on_silence, member)

    def _on_silence(self, member: Member) -> None:
        """A worker has closed its connection and not ended: it cannot be used any more."""
        if self._closing or self._members.get(member.name) is not member:
            return
        if member.name in self._orphans or member.name in self._launcher.workers:
            self.kill(member.name)
        else:
            self._lose(member, "its connection is lost")

    def _lose(self, member: Member, error: str = "") -> None:
        if self._members.get(member.name) is not member or self._closing:
            return
        del self._members[member.name]
        self._traces.remove(member.name)
        exit_code, signal = member.ending or (0, 0)
        lost = WorkerLost(
            member.name,
            exit_code,
            signal,
            error=error or member.fate,
            undelivered=frozenset(member.undelivered),
        )
        self._say(lost)

    def _on_launcher_lost(self) -> None:
        for member in list(self._members.values()):
            is_open = member.client is not None and member.client.is_open
            if member.client is not None and not (is_open and self._orphans.adopt(member.name, member.pid)):
                self._lose(member, "the launcher is lost")
