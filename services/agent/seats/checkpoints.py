"""Checkpoints of the seats of this node: complete ones are told and stored, the one to go on from is put in its place.

Owns what has been told of each seat's directory, and transfers that are under way. Nothing of it is on disk: a later
agent looks at the directories again and tells what is there; the trainer knows what it has by name and digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from modelyard.v1 import seat_pb2 as pb
from services.agent.config import Places
from services.agent.preparation.artifacts import RETRIED, Artifacts, TransferFailed
from services.agent.preparation.inputs import Inputs
from services.agent.seats.checkpoint_files import Directory, Found, Signature, remove
from services.agent.tasks.model import CheckpointRules, Task
from services.chassis.logs import get_logger

_log = get_logger("agent.checkpoints")

LOOK_S, CALM_LOOK_S, CALM_LOOKS = 0.5, 2.0, 60
"""How often a directory is looked at, and how often one in which nothing has happened for so many looks."""
AGAIN_S = 5.0
"""Before something is asked of a store again that is away."""
STORING_MOST_S = 600.0
"""A seat that is closed waits no longer for what is still to be stored."""

Tell = Callable[[str, pb.SeatCheckpoint], None]
RunBeside = Callable[[str, Coroutine[Any, Any, None]], None]


class Watch:
    """One seat's directory, and what was told of it."""

    def __init__(self, task: Task, rules: CheckpointRules, work: Path) -> None:
        assert task.body.seat is not None
        self.key = task.key
        self.account = task.body.account
        self.prefix = f"{task.body.seat.role}-{task.body.seat.index + max(task.array_index, 0)}"
        self.rules = rules
        self.root = work / rules.directory
        self.directory = Directory(self.root, rules)
        self.told: dict[str, tuple[Signature, pb.SeatCheckpoint]] = {}
        self.storing: dict[str, asyncio.Task[None]] = {}
        self.copies: set[str] = set()
        """Names of those that were put there to go on from."""
        self.turn = asyncio.Lock()
        """Held by whoever looks into the directory or changes it."""
        self.is_running = False


class Checkpoints:
    """Of all seats of one node that have rules for them."""

    def __init__(
        self, places: Places, artifacts: Artifacts, inputs: Inputs, tell: Tell, run_beside: RunBeside
    ) -> None:
        """`tell` gets the key of a seat's task, and what there is to say."""
        self._places = places
        self._artifacts = artifacts
        self._inputs = inputs
        self._tell = tell
        self._run_beside = run_beside
        self._watches: dict[str, Watch] = {}

    def of(self, task: Task) -> Watch | None:
        """The seat's; None: nobody looks after checkpoints of it."""
        watch = self._watches.get(task.key)
        rules = task.body.seat.checkpoints if task.body.seat is not None else None
        if watch is None and rules is not None:
            watch = self._watches[task.key] = Watch(task, rules, self._places.task(task.key) / "work")
        return watch

    def forget(self, key: str) -> None:
        """Its seat is closed."""
        watch = self._watches.pop(key, None)
        if watch is not None:
            watch.is_running = False

    # --- what appears

    def begin(self, watch: Watch) -> None:
        """Its processes run: the directory is looked at from now on."""
        if not watch.is_running:
            watch.is_running = True
            self._run_beside(f"checkpoints of {watch.key}", self._keep_looking(watch))

    async def _keep_looking(self, watch: Watch) -> None:
        calm = 0
        while watch.is_running:
            async with watch.turn:
                found = await asyncio.to_thread(watch.directory.look) if watch.is_running else []
                await self._take(watch, found)
            calm = calm + 1 if watch.directory.is_calm else 0
            await asyncio.sleep(LOOK_S if calm < CALM_LOOKS else CALM_LOOK_S)

    async def look_last(self, watch: Watch, *, is_clean: bool) -> None:
        """Everything that is complete was told when this returns. Nothing writes any more; `is_clean`: the processes
        came to their own end."""
        watch.is_running = False
        async with watch.turn:
            found = await asyncio.to_thread(lambda: watch.directory.last_look(is_clean=is_clean))
            await self._take(watch, found)

    async def _take(self, watch: Watch, found: list[Found]) -> None:
        for one in sorted(found, key=lambda one: one.time_ms):
            told = watch.told.get(one.name)
            if told is not None and told[0] == one.signature:
                self._store(watch, told[1])
                continue
            message = await asyncio.to_thread(_described, watch, one)
            if message is not None:
                watch.told[one.name] = (one.signature, message)
                self._tell(watch.key, message)
                self._store(watch, message)

    # --- the store

    def _store(self, watch: Watch, message: pb.SeatCheckpoint) -> None:
        """Unless it is there, or on its way."""
        if watch.rules.is_shared or message.is_stored or message.digest in watch.storing:
            return
        upload = asyncio.create_task(self._upload(watch, message), name=f"checkpoint {message.name}")
        watch.storing[message.digest] = upload
        upload.add_done_callback(lambda _: watch.storing.pop(message.digest, None))

    async def _upload(self, watch: Watch, message: pb.SeatCheckpoint) -> None:
        try:
            for file in message.files:
                path, name = watch.root / file.path, f"{watch.prefix}/{file.path}"
                stored = await self._artifacts.put(path, name, watch.account, "", self._places.tasks)
                if stored.digest != file.digest:
                    # Somebody has written to it since: it is told again once it has settled.
                    return
        except TransferFailed as error:
            _log.warning("checkpoint_not_stored", task=watch.key, name=message.name, reason=str(error))
            if watch.is_running:
                await asyncio.sleep(AGAIN_S)
            return
        message.is_stored = True
        self._tell(watch.key, message)

    async def until_stored(self, watch: Watch) -> None:
        """Until what was told is in the store too, or cannot be."""
        for _, message in [*watch.told.values()]:
            self._store(watch, message)
        if watch.storing:
            await asyncio.wait([*watch.storing.values()], timeout=STORING_MOST_S)

    # --- what is handed on

    async def make_ready(self, watch: Watch, wanted: pb.SeatCheckpoint, *, is_fresh: bool) -> str:
        """What processes are to go on from lies in its place, whole, and nothing torn beside it; else why not.

        `is_fresh`: nothing has run in the seat yet. A store that is away is waited for.
        """
        async with watch.turn:
            if not watch.rules.is_shared:
                flaw = await asyncio.to_thread(_made, watch.root, self._places.task(watch.key) / "work")
                if flaw:
                    return flaw
            flaw = await self._restore(watch, wanted) if wanted.name else ""
            await self._remove_copies(watch, wanted.name)
            if not flaw and not is_fresh and not watch.rules.is_shared:
                keep = [*watch.told, wanted.name]
                aside = await asyncio.to_thread(watch.directory.put_aside, keep)
                if aside:
                    _log.info("checkpoints_put_aside", task=watch.key, names=aside)
        return flaw

    async def _remove_copies(self, watch: Watch, but: str) -> None:
        """What was gone on from before is in the store."""
        names = watch.copies - {but}
        watch.copies -= names
        for name in names:
            watch.told.pop(name, None)
        if names:
            await asyncio.to_thread(watch.directory.remove, list(names))

    async def _restore(self, watch: Watch, wanted: pb.SeatCheckpoint) -> str:
        if not is_inside(wanted.name) or "/" in wanted.name:
            return "its name leaves the directory"
        found = await asyncio.to_thread(watch.directory.find, wanted.name)
        if watch.rules.is_shared:
            return "" if found is not None else "it is not there, or not whole"
        if found is not None:
            told = watch.told.get(wanted.name)
            if told is not None and told == (found.signature, told[1]) and told[1].digest == wanted.digest:
                return ""
            here = await asyncio.to_thread(_described, watch, found)
            if here is not None and here.digest == wanted.digest:
                here.is_stored = wanted.is_stored
                watch.told[wanted.name] = (found.signature, here)
                self._tell(watch.key, here)
                return ""
        if not wanted.is_stored:
            return "it is not here as it was, and was never stored"
        return await self._fetch(watch, wanted)

    async def _fetch(self, watch: Watch, wanted: pb.SeatCheckpoint) -> str:
        draft = watch.root / f".restoring-{secrets.token_hex(4)}"
        try:
            for file in wanted.files:
                if flaw := await self._fetch_one(watch, file, draft):
                    return flaw
            await asyncio.to_thread(_put_in_place, watch, wanted, draft)
        except OSError as error:
            return f"it could not be put in its place: {error.strerror or error}"
        finally:
            await asyncio.to_thread(shutil.rmtree, draft, True)
        found = await asyncio.to_thread(watch.directory.find, wanted.name)
        if found is None:
            return "it is not whole"
        here = pb.SeatCheckpoint()
        here.CopyFrom(wanted)
        watch.told[wanted.name] = (found.signature, here)
        watch.copies.add(wanted.name)
        _log.info("checkpoint_restored", task=watch.key, name=wanted.name)
        return ""

    async def _fetch_one(self, watch: Watch, file: pb.SeatCheckpointFile, draft: Path) -> str:
        if not is_inside(file.path):
            return f"{file.path[:80]!r} leaves the directory"
        while True:
            try:
                await self._inputs.fetch(file.digest, watch.account)
                break
            except TransferFailed as error:
                cause = error.__cause__
                if not (isinstance(cause, grpc.aio.AioRpcError) and cause.code() in RETRIED):
                    return str(error)
            await asyncio.sleep(AGAIN_S)
        target = draft / file.path
        digest = await asyncio.to_thread(_copied, self._inputs.path(file.digest), target)
        return "" if digest == file.digest else f"{file.path!r} came damaged"

    async def drop(self, watch: Watch, names: list[str]) -> None:
        """These are not kept any more."""
        if watch.rules.is_shared:
            return
        async with watch.turn:
            for name in names:
                watch.told.pop(name, None)
            await asyncio.to_thread(watch.directory.remove, names)


def _made(root: Path, work: Path) -> str:
    """The directory is there, and nowhere else; else why not."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_below = root.resolve().is_relative_to(work.resolve())
    except OSError as error:
        return f"the directory of checkpoints cannot be made: {error.strerror or error}"
    return "" if is_below else "the directory of checkpoints leads out of the instance's own"


def is_inside(path: str) -> bool:
    """Whether a path stays below the directory that it starts from."""
    return bool(path) and not path.startswith("/") and ".." not in path.split("/") and "\0" not in path


def _described(watch: Watch, found: Found) -> pb.SeatCheckpoint | None:
    """What is told of it; None: it has changed meanwhile."""
    message = pb.SeatCheckpoint(name=found.name, size_bytes=found.size_bytes)
    message.time.FromMilliseconds(found.time_ms)
    if watch.rules.is_shared:
        message.digest = hashlib.sha256(repr(found.signature).encode()).hexdigest()
        return message
    lines = []
    try:
        for path, size_bytes, _, _ in found.signature:
            digest = _digest(watch.root / path)
            message.files.add(path=path, digest=digest, size_bytes=size_bytes)
            lines.append(f"{path}\0{digest}\n")
    except OSError:
        return None
    now = watch.directory.find(found.name)
    if now is None or now.signature != found.signature:
        return None
    is_one = found.paths == (found.name,)
    message.digest = (
        message.files[0].digest if is_one else hashlib.sha256("".join(lines).encode()).hexdigest()
    )
    return message


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copied(source: Path, target: Path) -> str:
    """The digest of the copy."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return _digest(target)


def _put_in_place(watch: Watch, wanted: pb.SeatCheckpoint, draft: Path) -> None:
    for part in sorted({file.path.split("/")[0] for file in wanted.files}):
        target = watch.root / part
        remove(target)
        (draft / part).rename(target)
