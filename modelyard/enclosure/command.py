"""The process beside a command's container, which a shim starts in the place of the command.

Owns the container from its image to its removal: output goes where this process's own goes, signals are handed on,
SIGTSTP and SIGCONT stop it and let it go on, and how it ended stands in a file before this process ends. It ends with
the shim above it as well. Who kills this process calls `remove` afterwards.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.enclosure.command_order import CommandOrder
from modelyard.enclosure.container import LABEL
from modelyard.enclosure.engine import Engine, EngineFailed
from modelyard.enclosure.giving import open_up
from modelyard.enclosure.image import found
from modelyard.enclosure.leader import Leader
from modelyard.enclosure.output import Output
from modelyard.enclosure.usage import Usage
from modelyard.enclosure.watching import Watching
from modelyard.worker.processes.spawning import signal_name

RUN, REMOVE = "run", "remove"
_PROGRAM = f"""import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from modelyard.enclosure.command import main; sys.exit(main(sys.argv[1:]))"""
_KEPT = (signal.SIGTSTP, signal.SIGCONT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM)
_LOOK_S, _SIGNALLED, _SIGNALS_MOST = 60.0, 128, 64
_LOST_EXIT = 70
_AWAY_S, _AWAY_LOOK_S = 30.0, 0.5
_UNLIMITED = 1 << 62


def words(what: str, argument: str) -> list[str]:
    """What is executed: `RUN` and the path of an order, or `REMOVE` and the label of one."""
    return [sys.executable, "-I", "-S", "-c", _PROGRAM, what, argument]


class SetupFailed(Exception):
    """There is no container, for this reason."""

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


class Contained:
    """One command."""

    def __init__(self, order: CommandOrder, environ: Mapping[str, str]) -> None:
        self._order = order
        self._environ = environ
        self._watching = Watching()
        self._parent = os.pidfd_open(os.getppid())
        self._is_lost = False
        self._is_engine_away = False
        self._leader = Leader()
        self._is_halted = False
        self._pending: list[str] = []
        self._usage = Usage()
        self._waiter: socket.socket | None = None
        self._said = b""
        self._output: Output | None = None
        self._code: int | None = None

    def run(self) -> int:
        """Until it has ended and nothing of it is left; its exit code. Raises SetupFailed, OSError."""
        self._watching.take(_KEPT)
        try:
            engine = Engine.find(self._environ)
            image = found(engine, self._order.image)
            if image is None:
                message = f"the image {self._order.image} was here, and has been removed meanwhile"
                raise SetupFailed(message, "retry it: it is pulled anew")
            self._make_ready()
            # From here on: before that their own way to end this process will do.
            self._watching.take(_ENDING)
            container = engine.create("", self._order.config(image.digest, LABEL))
        except EngineFailed as error:
            raise _no_container(error, self._order) from error
        try:
            self._start(engine, container)
            self._wait(engine, container)
            return self._end(engine, container)
        finally:
            self._close(engine, container)

    def _make_ready(self) -> None:
        """What only the process beside can do, in the last moment: files may have come since the task was prepared."""
        order = self._order
        user, _, group = order.user.partition(":")
        if order.given and os.getuid() == 0:
            open_up(Path(order.directory), int(user), int(group), order.given)
        for name in order.writable:
            if name.startswith("/") and not Path(name).exists():
                Path(name).mkdir(parents=True)
                if os.getuid() == 0:
                    os.chown(name, int(user), int(group))

    def _start(self, engine: Engine, container: str) -> None:
        watch = self._watching.watch
        try:
            self._listen(engine, container)
            watch(self._parent, select.EPOLLIN, self._on_lost)
            engine.start(container)
            self._leader = Leader.of(container, pid := int(engine.state(container).get("Pid", 0)))
            if self._order.pid_path:
                Path(self._order.pid_path).write_text(str(pid), encoding="ascii")
            self._usage.follow(engine.stats(container), watch)
        except EngineFailed as error:
            raise _no_container(error, self._order) from error

    def _listen(self, engine: Engine, container: str) -> None:
        watch, self._said = self._watching.watch, b""
        self._output = Output(engine.attach(container), watch, _UNLIMITED)
        self._waiter = engine.wait(container)
        watch(self._waiter.fileno(), select.EPOLLIN, self._on_end)

    def _wait(self, engine: Engine, container: str) -> None:
        while self._code is None and not self._is_lost:
            self._watching.wait(_LOOK_S)
            if self._is_engine_away:
                self._await_engine(engine, container)
            try:
                self._hand_on(engine, container)
            except EngineFailed as error:
                os.write(2, f"a signal did not reach the container: {error}\n".encode())

    def _hand_on(self, engine: Engine, container: str) -> None:
        """What is stopped hears of a signal when it goes on, as a process does."""
        for number in self._watching.taken():
            if number in (signal.SIGTSTP, signal.SIGCONT):
                self._halt(engine, container, wanted=number == signal.SIGTSTP)
            else:
                self._pending.append(number.name)
        while self._pending and not self._is_halted:
            engine.signal(container, self._pending.pop(0))

    def _halt(self, engine: Engine, container: str, *, wanted: bool) -> None:
        if wanted and not self._is_halted:
            engine.pause(container)
        elif self._is_halted and not wanted:
            engine.proceed(container)
        self._is_halted = wanted

    def _on_end(self, fd: int) -> None:
        assert self._waiter is not None
        piece = self._waiter.recv(65_536)
        self._said += piece
        begin, end = self._said.find(b"{"), self._said.rfind(b"}")
        if 0 <= begin < end:
            self._code = int(json.loads(self._said[begin : end + 1]).get("StatusCode", _LOST_EXIT))
        elif not piece:
            self._is_engine_away = True
        if self._code is not None or self._is_engine_away:
            self._watching.watch(self._waiter.fileno(), 0, None)

    def _await_engine(self, engine: Engine, container: str) -> None:
        """It may be started anew, and keep its containers meanwhile, or not. What it does not come back for ends."""
        assert self._output is not None and self._waiter is not None
        self._is_engine_away, until = False, time.monotonic() + _AWAY_S
        self._output.finish()
        while time.monotonic() < until:
            try:
                state = engine.state(container)
                if not state.get("Running"):
                    self._code = int(state.get("ExitCode", _LOST_EXIT))
                    return
                self._output.close()
                self._waiter.close()
                self._listen(engine, container)
                return
            except EngineFailed as error:
                if error.status == 404:
                    break
                time.sleep(_AWAY_LOOK_S)
        self._leader.kill()
        self._is_lost = True

    def _on_lost(self, fd: int) -> None:
        """The shim has gone: nobody waits for this."""
        self._is_lost = True

    def _end(self, engine: Engine, container: str) -> int:
        if self._code is None:
            raise SetupFailed("its container was lost: the engine, or what kept the task, went away")
        assert self._output is not None
        self._output.finish()
        try:
            ran_out = bool(engine.state(container).get("OOMKilled"))
        except EngineFailed:
            ran_out = False
        self.tell(_failure(self._code, ran_out, self._order.memory_bytes))
        return self._code

    def tell(self, failure: dict[str, Any] | None) -> None:
        """How it ended, for the shim. Raises OSError."""
        fields: dict[str, Any] = {**self._usage.fields(), **({"error": failure} if failure else {})}
        path = Path(self._order.outcome_path)
        draft = path.with_name(f"{path.name}.new")
        draft.write_text(json.dumps(fields), encoding="utf-8")
        draft.rename(path)

    def _close(self, engine: Engine, container: str) -> None:
        if self._output is not None:
            self._output.close()
        if self._waiter is not None:
            self._waiter.close()
        self._usage.close()
        try:
            engine.remove(container)
        except EngineFailed as error:
            os.write(2, f"the container {container[:12]} could not be removed: {error}\n".encode())


def _failure(code: int, ran_out: bool, memory_bytes: int) -> dict[str, Any] | None:
    """As a report of work has it. The engine tells of a signal as shells do: 128 and its number."""
    number = code - _SIGNALLED if _SIGNALLED < code <= _SIGNALLED + _SIGNALS_MOST else 0
    if ran_out and code:
        most = f"its limit of {memory_bytes} bytes" if memory_bytes else "there is"
        message = f"needed more memory than {most}"
        return {"cause": "out_of_memory", "message": message, "signal": number}
    if number:
        return {"cause": "signal", "message": f"was ended by {signal_name(number)}", "signal": number}
    if code:
        return {"cause": "exit", "message": f"exited with code {code}", "exit_code": code}
    return None


def _no_container(error: EngineFailed, order: CommandOrder) -> SetupFailed:
    message, step = (
        f"there is no container of {order.image}: {error}",
        "look after the container engine of the node",
    )
    if order.network == "bridge" and "network" in str(error):
        step = "leave the network out, or give the node's container engine one"
    elif order.gpus and "gpu" in str(error):
        step = "install nvidia-container-toolkit on the node"
    elif "executable file not found" in str(error):
        message, step = (
            f"the image {order.image} has no program {order.argv[0]!r} on its PATH",
            "name one that it has",
        )
    return SetupFailed(message, step)


def remove(label: str, environ: Mapping[str, str]) -> None:
    """Ends and removes what bears the label. Raises EngineFailed."""
    engine = Engine.find(environ)
    for container, whose in engine.labelled(LABEL).items():
        if whose == label:
            engine.remove(container)


def main(arguments: list[str]) -> int:
    """`run PATH` or `remove LABEL`. The command's exit code; 70: there was none, and the outcome says why."""
    what, argument = arguments
    if what == REMOVE:
        try:
            remove(argument, os.environ)
        except EngineFailed as error:
            sys.stderr.write(f"the container of {argument} could not be removed: {error}\n")
            return 1
        return 0
    contained = Contained(CommandOrder.read(Path(argument).read_text(encoding="utf-8")), os.environ)
    try:
        return contained.run()
    except SetupFailed as error:
        contained.tell({"cause": "setup", "message": str(error), "next_step": error.next_step})
    except OSError as error:
        contained.tell({"cause": "setup", "message": f"its container could not be kept: {error}"})
    return _LOST_EXIT
