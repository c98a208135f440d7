"""Request ids make every mutation repeatable: the same id and content gets the first answer again, for a day.

Owns the table ``answer`` and the order in which things are remembered. `repeatable(servicer, file, answers)` gives the
promise to each unary RPC of a servicer whose request has a ``request_id``; nothing else is needed for it to hold, but:
an RPC that writes to the database keeps its answer in its own transaction, because whoever repeats it after a crash
could get it from nowhere else. In the servicer: ``kept = answers.keep(lambda row: pb.CreateXResponse(...))``; in the
function given to ``database.write``, as its last step: ``kept(connection, row)``.

A refusal is not remembered. Answers lie in the database encrypted, since some hold a secret that is shown once. A
service has the table and the queries ``get_answer``, ``insert_answer`` and ``prune_answers``.
"""

import asyncio
import hashlib
import os
import sqlite3
import uuid
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from services.chassis.clock import Clock
from services.chassis.requests.marks import Kept, Mark, RequestIdInvalid, RequestIdReused, current, marking
from services.chassis.security import principal
from services.chassis.storage.sqlite import Database

KEPT_MS = 24 * 3_600_000
"""How long the first answer to a request is given again."""
PRUNE_S = 3_600.0

_NONCE_BYTES = 12

T = TypeVar("T")
Handler = Callable[[Any, Any], Awaitable[Any]]


class _Turn:
    """Requests under one id that are under way: one of them works, the others wait."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.count = 0


class Answers:
    """The memory of first answers. ``key`` (32 bytes) lies in the state directory, not in the database."""

    def __init__(
        self, database: Database, sql: Mapping[str, str], now_ms: Callable[[], int], key: bytes
    ) -> None:
        self._database = database
        self._sql = sql
        self._now_ms = now_ms
        self._key = key
        self._turns: dict[tuple[str, str], _Turn] = {}

    async def once(self, method: MethodDescriptor, request: Any, context: Any, handler: Handler) -> Any:
        """The handler's answer, or the one that it gave to the same request before.

        Raises `RequestIdReused` if the id came with other content. Two that come together wait for each other. Safe
        to cancel: what the handler began may then be there, and a repetition finds it.
        """
        if not request.request_id or getattr(request, "validate_only", False):
            return await handler(request, context)
        self.check_id(request.request_id)
        caller = principal()
        mark = Mark(caller.account, request.request_id, _content(method, caller.role, request))
        async with self._turn(mark):
            first = await self._find(mark)
            if first is not None:
                return GetMessageClass(method.output_type).FromString(first)
            await self.before(mark)
            with marking(mark):
                answer = await handler(request, context)
            if not mark.is_kept:
                await self._database.write(lambda c: self._insert(c, mark, answer))
            self.after(mark)
        return answer

    def check_id(self, text: str) -> None:
        """Raises RequestIdInvalid unless it is a UUID."""
        try:
            uuid.UUID(text)
        except ValueError as error:
            raise RequestIdInvalid(f"request_id: {text[:64]!r} is not a UUID", field="request_id") from error

    async def before(self, mark: Mark) -> None:
        """A service that remembers requests elsewhere too makes sure of them here."""

    def after(self, mark: Mark) -> None:
        """A service that remembers requests elsewhere too does so here."""

    def require_unused(self, connection: sqlite3.Connection, mark: Mark) -> None:
        """In the change's transaction: raises RequestIdReused if something else has used the id."""

    def recorded(self, connection: sqlite3.Connection, mark: Mark, time_ms: int) -> None:
        """In the transaction that keeps the answer."""

    async def prune(self, before_ms: int) -> int:
        """Forgets at most 1,000 answers from before; returns how many."""
        return await self._database.write(
            lambda c: c.execute(self._sql["prune_answers"], (before_ms,)).rowcount
        )

    async def run(self, clock: Clock) -> None:
        """For ever: forgets what is older than a day. A loop that the service starts."""
        while True:
            while await self.prune(clock.now_ms() - KEPT_MS):
                pass
            await clock.sleep(PRUNE_S)

    def keep(self, answer_of: Callable[[T], Message]) -> Kept[T]:
        """For a change that is no event: to be called inside its transaction, with what the answer is made of."""
        mark = current()

        def kept(connection: sqlite3.Connection, made: T) -> None:
            if mark is not None:
                self.require_unused(connection, mark)
                self._insert(connection, mark, answer_of(made))
                mark.is_kept = True

        return kept

    @asynccontextmanager
    async def _turn(self, mark: Mark) -> AsyncIterator[None]:
        """One at a time for each id."""
        key = (mark.account, mark.request_id)
        turn = self._turns.setdefault(key, _Turn())
        turn.count += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.count -= 1
            if not turn.count:
                del self._turns[key]

    async def _find(self, mark: Mark) -> bytes | None:
        values = (mark.account, mark.request_id)
        found = await self._database.read(lambda c: c.execute(self._sql["get_answer"], values).fetchone())
        if found is None:
            return None
        if found[0] != mark.content:
            raise reused()
        return self._open(found[1], mark)

    def _insert(self, connection: sqlite3.Connection, mark: Mark, answer: Message) -> None:
        time_ms = self._now_ms()
        sealed = self._seal(answer.SerializeToString(), mark)
        own = (mark.account, mark.request_id, mark.content)
        self.recorded(connection, mark, time_ms)
        connection.execute(self._sql["insert_answer"], (*own, sealed, time_ms))

    def _seal(self, answer: bytes, mark: Mark) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        sealed: bytes = self._cipher().encrypt(nonce, zlib.compress(answer, 1), _bound_to(mark))
        return nonce + sealed

    def _open(self, sealed: bytes, mark: Mark) -> bytes | None:
        """None: it was sealed under another key, so that only the state can tell what became of the request."""
        from cryptography.exceptions import InvalidTag

        try:
            opened: bytes = self._cipher().decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound_to(mark)
            )
        except InvalidTag:
            return None
        return zlib.decompress(opened)

    def _cipher(self) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._key)


def repeatable(
    servicer: T, file: FileDescriptor, answers: Answers, own_promise: Collection[str] = frozenset()
) -> T:
    """The servicer, with the promise around each of its RPCs that has a request id and does not keep it itself."""
    for service in file.services_by_name.values():
        for method in service.methods:
            if has_promise(method, own_promise) and hasattr(servicer, method.name):
                setattr(servicer, method.name, _wrapped(method, getattr(servicer, method.name), answers))
    return servicer


def has_promise(method: MethodDescriptor, own_promise: Collection[str] = frozenset()) -> bool:
    """Whether `Answers` keeps the promise for this RPC."""
    is_unary = not method.client_streaming and not method.server_streaming
    return is_unary and "request_id" in method.input_type.fields_by_name and method.name not in own_promise


def _wrapped(method: MethodDescriptor, handler: Handler, answers: Answers) -> Handler:
    async def call(request: Any, context: Any) -> Any:
        return await answers.once(method, request, context, handler)

    return call


def _content(method: MethodDescriptor, role: str, request: Message) -> bytes:
    """What makes two requests the same, whatever their id. Not another role: its answer may be more than it may see."""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("request_id")
    named = f"{method.full_name} {role} ".encode()
    return hashlib.sha256(named + bare.SerializeToString(deterministic=True)).digest()


def _bound_to(mark: Mark) -> bytes:
    """An answer cannot be moved to another request."""
    return f"{mark.account}\0{mark.request_id}".encode() + mark.content


def reused() -> RequestIdReused:
    """The refusal, with its next step."""
    return RequestIdReused(field="request_id", next_step="use a new UUID for a new request")
