"""A frame: listens, loads, and answers calls on the one connection of its service, until it is told to end.

Threads: the main one loads, then waits; one per connection reads; `runtime.threads` compute, and write what they
computed. A connection that shows the secret takes the place of the one before it, whose calls are forgotten: a service
that was restarted asks anew. Blocking sockets: a thread that waits costs nothing here, and a hop costs microseconds.
"""

from __future__ import annotations

import hmac
import math
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from modelyard.serving.calls import Answer, Call, Id, calls_of, failure_header
from modelyard.serving.current import Cancelled
from modelyard.serving.errors import AnswerTooLarge, ComponentUnfit, FrameLeaving, InvalidValue, ServingError
from modelyard.serving.family import Parent
from modelyard.serving.link import Link, listener
from modelyard.serving.running import Outcome, Runner
from modelyard.serving.wire import BadMessage, Buffer, Header, Message, encode

GREETING_S = 10.0
STRANGERS_MOST = 16
"""Connections that have not shown the secret yet."""
GRACE_S = 10.0
"""For what runs when the process is told to terminate."""
_LOOK_S = 1.0


class Leaving(BaseException):
    """A signal ends the process while it loads; no Exception, so that no code of a component takes it for its own."""


class Server:
    """The frame's process, from its socket to its end."""

    def __init__(self, secret: str, threads: int, message_bytes_most: int) -> None:
        self._secret = secret.encode()
        self._threads = threads
        self._bytes_most = message_bytes_most
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._said: Header | None = None
        self._live: dict[Id, Call] = {}
        self._waiting: queue.SimpleQueue[list[Call] | None] = queue.SimpleQueue()
        self._runner: Runner | None = None
        self._parent = Parent()
        self._strangers: dict[Link, None] = {}
        self._is_ending = False
        self._leave_at = math.inf
        self._ended = threading.Event()

    def listen(self, address: str) -> None:
        """Takes connections from now on: tcp://host:port or unix:///path. Raises OSError, ValueError."""
        opened = listener(address)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._terminate)
        threading.Thread(target=self._accept, args=(opened,), name="accept", daemon=True).start()

    def loaded(self, runner: Runner, header: Header) -> None:
        """The component computes from now on; `header` is told to this connection and all later ones."""
        self._runner = runner
        self._say(header)
        for number in range(self._threads):
            threading.Thread(target=self._compute, name=f"compute-{number}", daemon=True).start()

    def unloadable(self, header: Header) -> None:
        """It never will; calls are answered with that."""
        self._say(header)

    def wait(self) -> int:
        """Until the service, or a signal, ends it. The exit status."""
        while not self._ended.wait(_LOOK_S):
            if self._parent.is_gone or time.monotonic() >= self._leave_at:
                break
        if self._link is not None:
            self._link.close()
        return 0

    def end(self) -> None:
        """No new calls; what there is is answered, then it leaves."""
        self._is_ending = True
        if not self._live:
            self._ended.set()

    def _terminate(self, *_: object) -> None:
        self._leave_at = time.monotonic() + GRACE_S
        self.end()
        if self._said is None:
            raise Leaving

    def _say(self, header: Header) -> None:
        self._parent.settle()
        with self._lock:
            self._said, link = header, self._link
        if header["kind"] == "unloadable":
            for call in list(self._live.values()):
                self._fail(call, _unloadable(header))
        if link is not None:
            link.send(header)

    def _accept(self, opened_to: socket.socket) -> None:
        while True:
            try:
                opened, _ = opened_to.accept()
            except OSError:
                # Too many open files: one that ends makes room.
                time.sleep(0.05)
                continue
            link = Link(opened)
            with self._lock:
                self._strangers[link] = None
                oldest = next(iter(self._strangers)) if len(self._strangers) > STRANGERS_MOST else None
            if oldest is not None:
                # Its thread finds it closed; whoever has something to say has said it by now.
                oldest.shut()
            threading.Thread(target=self._serve, args=(opened, link), name="connection", daemon=True).start()

    def _serve(self, opened: socket.socket, link: Link) -> None:
        try:
            try:
                rest = self._greeted(opened, link)
            finally:
                with self._lock:
                    self._strangers.pop(link, None)
            if rest is not None:
                self._read(link, rest)
        except (OSError, BadMessage) as error:
            print(f"connection ended: {error}", file=sys.stderr, flush=True)
        finally:
            self._forget(link)
            link.close()

    def _greeted(self, opened: socket.socket, link: Link) -> list[Message] | None:
        """What came after the greeting; None: it showed no secret, or a wrong one."""
        if opened.family != socket.AF_UNIX:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        until, messages = time.monotonic() + GREETING_S, list[Message]()
        while not messages:
            opened.settimeout(max(0.001, until - time.monotonic()))
            received = link.receive()
            if received is None:
                return None
            messages = received
        hello, *rest = messages
        secret = hello.header.get("secret")
        is_known = isinstance(secret, str) and hmac.compare_digest(secret.encode(), self._secret)
        if hello.kind != "hello" or not is_known:
            return None
        opened.settimeout(None)
        link.decoder.bytes_most = self._bytes_most
        self._welcome(link)
        return rest

    def _welcome(self, link: Link) -> None:
        with self._lock:
            before, self._link, said = self._link, link, self._said
            # In this order on the wire, whatever is told meanwhile.
            link.send({"kind": "welcome", "pid": os.getpid(), "python": sys.version.split()[0]})
            if said is not None:
                link.send(said)
        if before is not None:
            self._abandon()
            before.close()

    def _read(self, link: Link, messages: list[Message] | None) -> None:
        while messages is not None and self._link is link:
            for message in messages:
                self._take(link, message)
            messages = link.receive()

    def _take(self, link: Link, message: Message) -> None:
        kind = message.kind
        if kind in ("call", "batch"):
            self._take_calls(link, message)
        elif kind == "cancel":
            self._cancel(message.header.get("id"))
        elif kind == "end":
            self.end()
        else:
            raise BadMessage(f"a frame is not told {kind!r:.80}")

    def _take_calls(self, link: Link, message: Message) -> None:
        try:
            found = calls_of(message)
        except ValueError as error:
            raise BadMessage(f"a {message.kind} is none: {error}") from None
        taken = []
        for one in found:
            if isinstance(one, tuple):
                link.send(failure_header(*one))
            elif (wrong := self._refusal(one)) is not None:
                link.send(failure_header(one.id, wrong))
            else:
                taken.append(one)
        if taken:
            self._waiting.put(taken)

    def _refusal(self, call: Call) -> ServingError | None:
        """Why it is not taken; None: it is, and is alive from now on."""
        said = self._said
        if self._is_ending:
            return FrameLeaving("the frame is leaving")
        if said is not None and said["kind"] == "unloadable":
            return _unloadable(said)
        with self._lock:
            if call.id in self._live:
                return InvalidValue(f"there is a call {call.id} already", "id")
            self._live[call.id] = call
        return None

    def _cancel(self, number: Any) -> None:
        """What waits is answered at once; what runs is told."""
        if not isinstance(number, (str, int)):
            return
        call = self._live.get(number)
        if call is None:
            return
        call.is_cancelled = True
        if not call.begun_ns:
            self._fail(call, Cancelled("it was cancelled before it began"))

    def _forget(self, link: Link) -> None:
        with self._lock:
            is_current = self._link is link
            if is_current:
                self._link = None
        if is_current:
            self._abandon()

    def _abandon(self) -> None:
        """Nobody is left who waits for these."""
        with self._lock:
            calls, self._live = list(self._live.values()), {}
        for call in calls:
            call.is_cancelled = True
        if self._is_ending:
            self._ended.set()

    def _compute(self) -> None:
        while (calls := self._waiting.get()) is not None:
            runner = self._runner
            assert runner is not None
            calls = [call for call in calls if self._begin(call)]
            outcomes = zip(calls, self._outcomes(runner, calls), strict=True)
            self._finish([_settled(call, outcome) for call, outcome in outcomes])

    def _begin(self, call: Call) -> bool:
        if self._live.get(call.id) is not call:
            return False
        try:
            call.check_wanted()
        except ServingError as error:
            self._fail(call, error)
            return False
        call.begun_ns = time.monotonic_ns()
        return True

    def _outcomes(self, runner: Runner, calls: Sequence[Call]) -> Sequence[Outcome]:
        try:
            if len(calls) == 1:
                return [runner.run(calls[0], self._part_of(calls[0]))]
            return runner.run_batch(calls) if calls else []
        except BaseException as error:
            # Whatever a component raises, SystemExit included, is its caller's and no end of the frame.
            return [error] * len(calls)

    def _fail(self, call: Call, error: BaseException) -> None:
        self._finish([(call, failure_header(call.id, error), ())])

    def _finish(self, ended: Sequence[tuple[Call, Header, Sequence[Buffer]]]) -> None:
        """Once only, whoever is first; a call of a connection that is gone is no longer alive."""
        told: list[Sequence[Buffer]] = []
        messages = [(call, _encoded(call, header, buffers)) for call, header, buffers in ended]
        with self._lock:
            for call, message in messages:
                if self._live.get(call.id) is call:
                    del self._live[call.id]
                    told.append(message)
            link = self._link
        if not told:
            return
        if link is not None:
            link.send_all(told)
        if self._is_ending and not self._live:
            self._ended.set()

    def _part_of(self, call: Call) -> Callable[[Answer], None]:
        def send(part: Answer) -> None:
            with self._lock:
                link = self._link if self._live.get(call.id) is call else None
            if link is not None:
                link.send(part.header("part", call.id), part.buffers)

        return send


def _settled(call: Call, outcome: Outcome) -> tuple[Call, Header, Sequence[Buffer]]:
    """What is told of a call that was computed."""
    if isinstance(outcome, BaseException):
        return call, failure_header(call.id, outcome), ()
    if call.is_cancelled:
        return call, failure_header(call.id, Cancelled("it was cancelled while it ran")), ()
    return call, outcome.header("result", call.id), outcome.buffers


def _encoded(call: Call, header: Header, buffers: Sequence[Buffer]) -> Sequence[Buffer]:
    """An answer of which no message can be made is its caller's failure, and no end of the thread that computes."""
    try:
        return encode(header, buffers)
    except (ValueError, TypeError) as error:
        return encode(failure_header(call.id, AnswerTooLarge(f"the answer cannot be sent: {error}"[:500])))


def _unloadable(header: Header) -> ServingError:
    return ComponentUnfit(f"the component cannot be loaded: {header['message']}", str(header["field"]))
