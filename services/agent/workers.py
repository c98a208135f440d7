"""The worker processes of this machine: started, connected, found again, ended.

Owns the launcher's and the workers' sockets and the notes by which a restarted agent knows whose a
worker is. Decides nothing: the machine says what to start and what to send.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec

from services.agent.config import Places
from services.agent.convert import report_of
from services.agent.decode import THREADS
from services.agent.events import Event, WorkerLost, WorkerReady
from services.agent.launcher_client import LauncherClient, LauncherFailed, SpawnFailed
from services.agent.model import Pool
from services.agent.worker_client import WorkerClient
from services.chassis.logs import get_logger

Message = dict[str, Any]
_log = get_logger("agent.workers")
_LAUNCHER_S = 20.0
_LAUNCHER_END_S = 5.0
_LOST_AFTER_S = 2.0
"""How long the end of a connection may come before the launcher's word about the process."""


def socket_directory(root: Path) -> Path:
    """A short, private directory for the sockets of an agent: paths of sockets end at 107 bytes."""
    name = hashlib.sha256(str(root).encode()).hexdigest()[:12]
    private = Path(f"/tmp/yard-{os.getuid()}")
    private.mkdir(mode=0o700, exist_ok=True)
    if private.is_symlink() or private.stat().st_uid != os.getuid():
        raise LauncherFailed(f"{private} belongs to somebody else; remove it")
    directory = private / name
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


class Member:
    """One worker process as this side knows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.client: WorkerClient | None = None
        self.pid = 0
        self.pool: Pool | None = None
        self.is_ready = False
        self.ending: tuple[int, int] | None = None
        self.undelivered: set[str] = set()


class Workers:
    """Every event about workers goes to `tell`."""

    def __init__(
        self,
        places: Places,
        tell: Callable[[Event], None],
        spawn_task: Callable[[str, Coroutine[Any, Any, None]], object],
        has_gpus: bool,
    ) -> None:
        self._places = places
        self._tell = tell
        self._spawn_task = spawn_task
        self._sockets = socket_directory(places.root)
        self._launcher: LauncherClient | None = None
        self._launcher_up = asyncio.Event()
        self._launcher_gone = asyncio.Event()
        self._members: dict[str, Member] = {}
        self._base_env = {THREADS: "1", "PYTHONUNBUFFERED": "1"}
        if has_gpus:
            self._base_env["CUDA_VISIBLE_DEVICES"] = ""
        self._closing = False
        # What workers say while others are still being found again; None: nothing is held back.
        self._held: list[Event] | None = []
        places.workers.mkdir(mode=0o700, exist_ok=True)

    async def open(self) -> list[tuple[str, Pool | None, Message]]:
        """Starts or finds the launcher; what it still has: name, pool and inventory of each worker."""
        await self._start_launcher()
        assert self._launcher is not None
        found = []
        for name, pid in sorted(self._launcher.workers.items()):
            inventory = await self._reconnect(name, pid)
            if inventory is None:
                self._launcher.kill(name)
            else:
                found.append((name, self._members[name].pool, inventory))
        for path in self._places.workers.iterdir():
            if path.name not in self._members:
                path.unlink()
        # The caller takes the inventories over without waiting; what came after them is told then.
        asyncio.get_running_loop().call_soon(self._tell_held)
        return found

    def _say(self, event: Event) -> None:
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
            self._note(member)
        self._spawn_task(f"spawn {name}", self._spawn(member, python, paths))

    def send(
        self,
        name: str,
        *,
        run: tuple[Message, ...] = (),
        cancel: tuple[Message, ...] = (),
        ack: tuple[str, ...] = (),
        modify: tuple[Message, ...] = (),
        quit: bool = False,
    ) -> None:
        """Sends to a worker; what a lost worker does not get is settled by its WorkerLost."""
        member = self._members.get(name)
        if member is None or member.client is None:
            return
        if member.client.is_open:
            member.client.send(run=run, cancel=cancel, ack=ack, modify=modify, quit=quit)
        else:
            member.undelivered.update(work["key"] for work in run)

    def claim(self, name: str, pool: Pool) -> None:
        """Notes whose worker it is from now on."""
        member = self._members.get(name)
        if member is not None and member.pool is None:
            member.pool = pool
            self._note(member)

    def kill(self, name: str) -> None:
        """SIGKILL; WorkerLost follows."""
        if self._launcher is not None:
            self._launcher.kill(name)

    def pid(self, name: str) -> int:
        """The worker's process; 0: it has none yet."""
        member = self._members.get(name)
        return member.pid if member is not None else 0

    def pids(self) -> Mapping[str, int]:
        """All worker processes by name."""
        return {name: member.pid for name, member in self._members.items() if member.pid}

    @property
    def launcher_workers(self) -> int:
        """How many workers the launcher has."""
        return len(self._launcher.workers) if self._launcher is not None else 0

    async def close(self, *, shut_down: bool) -> None:
        """Leaves launcher and workers alone, or ends them all and waits a moment for it."""
        self._closing = True
        for member in self._members.values():
            if member.client is not None:
                member.client.close()
        if self._launcher is not None:
            if shut_down:
                self._launcher.shut_down()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._launcher_gone.wait(), _LAUNCHER_END_S)
                for name in self._members:
                    self._remove_traces(name)
            self._launcher.close()

    async def _start_launcher(self) -> None:
        self._launcher = await LauncherClient.start(
            str(self._sockets / "launcher"), self._places.root, self._on_ended, self._on_launcher_lost
        )
        self._launcher_gone.clear()
        self._launcher_up.set()

    async def _reconnect(self, name: str, pid: int) -> Message | None:
        """The inventory of a worker of an earlier agent process; None if it does not answer."""
        member = self._members[name] = Member(name)
        member.pid = pid
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            member.pool = msgspec.json.decode((self._places.workers / name).read_bytes(), type=Pool)
        inventory: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def on_frame(message: Message) -> None:
            if inventory.done():
                self._on_frame(member, message)
            else:
                inventory.set_result(message.get("inventory", {}))

        try:
            member.client = await WorkerClient.connect(
                self._socket(name), on_frame, lambda: self._on_connection_lost(member)
            )
            member.is_ready = True
            return await asyncio.wait_for(inventory, 5.0)
        except (OSError, TimeoutError) as error:
            _log.warning("worker_not_found_again", worker=name, pid=pid, reason=str(error))
            del self._members[name]
            return None

    async def _spawn(self, member: Member, python: str, paths: tuple[str, ...]) -> None:
        env = {**self._base_env, **dict(member.pool.variables)} if member.pool else self._base_env
        try:
            await asyncio.wait_for(self._launcher_up.wait(), _LAUNCHER_S)
            assert self._launcher is not None
            member.pid = await self._launcher.spawn(
                member.name,
                self._socket(member.name),
                python=python,
                paths=paths,
                log_path=str(self._places.logs / f"{member.name}.log"),
                env=env,
            )
            member.client = await WorkerClient.connect(
                self._socket(member.name),
                lambda message: self._on_frame(member, message),
                lambda: self._on_connection_lost(member),
            )
        except (SpawnFailed, OSError, TimeoutError) as error:
            if member.ending is None and self._launcher is not None:
                self._launcher.kill(member.name)
            self._lose(member, str(error))

    def _on_frame(self, member: Member, message: Message) -> None:
        if "inventory" in message:
            if not member.is_ready:
                member.is_ready = True
                self._say(WorkerReady(member.name))
            return
        self._say(report_of(member.name, message))

    def _on_ended(self, name: str, exit_code: int, signal: int) -> None:
        member = self._members.get(name)
        if member is None:
            return
        member.ending = (exit_code, signal)
        # Its last frames may still be in the socket: they are read before its end counts.
        if member.client is None or not member.client.is_open:
            self._lose(member)

    def _on_connection_lost(self, member: Member) -> None:
        if self._closing or member.name not in self._members:
            return
        if member.ending is not None:
            self._lose(member)
        elif self._launcher is None:
            self._lose(member, "the launcher is lost")
        else:
            asyncio.get_running_loop().call_later(_LOST_AFTER_S, self._on_silence, member)

    def _on_silence(self, member: Member) -> None:
        """A worker has closed its connection and not ended: it cannot be used any more."""
        if self._closing or self._members.get(member.name) is not member:
            return
        if self._launcher is not None and member.name in self._launcher.workers:
            self._launcher.kill(member.name)
        else:
            self._lose(member, "its connection is lost")

    def _lose(self, member: Member, error: str = "") -> None:
        if self._members.get(member.name) is not member or self._closing:
            return
        del self._members[member.name]
        self._remove_traces(member.name)
        exit_code, signal = member.ending or (0, 0)
        lost = WorkerLost(
            member.name, exit_code, signal, error=error, undelivered=frozenset(member.undelivered)
        )
        self._say(lost)

    def _on_launcher_lost(self) -> None:
        self._launcher_gone.set()
        if self._closing:
            return
        self._launcher_up.clear()
        _log.error("launcher_lost", next_step="a new one is started; see launcher.log")
        self._launcher = None
        self._spawn_task("launcher", self._start_launcher())
        for member in list(self._members.values()):
            if member.client is not None and not member.client.is_open:
                self._lose(member, "the launcher is lost")

    def _socket(self, name: str) -> str:
        return str(self._sockets / name)

    def _remove_traces(self, name: str) -> None:
        """A worker that has ended leaves its note and its socket."""
        (self._places.workers / name).unlink(missing_ok=True)
        Path(self._socket(name)).unlink(missing_ok=True)

    def _note(self, member: Member) -> None:
        (self._places.workers / member.name).write_bytes(msgspec.json.encode(member.pool))
