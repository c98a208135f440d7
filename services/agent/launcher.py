"""The launcher: forks workers, reaps them, and outlives the agent.

Owns the processes of one agent. It has one thread and imports nothing but the standard library and the
worker, because every worker is a copy of it: a fork takes about 2 ms, and what is imported here is shared.

A child that is neither a worker nor a template is what an ended worker left behind (this process is their
subreaper), and is killed.
"""

import argparse
import errno
import fcntl
import os
import selectors
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import NamedTuple

from modelyard.worker.birth import fork_worker
from modelyard.worker.frames import BadFrame, FrameBuffer, Message, encode
from modelyard.worker.processes.ending import adopt_orphans, children, end_children, has_children
from modelyard.worker.sockets import InsecureDirectory, listen
from services.agent.workers.templates import Template, Templates

ALREADY_RUNNING = 3
_POLL_S = 5.0
_SEND_TIMEOUT = struct.pack("ll", 5, 0)


class Agent(NamedTuple):
    """The connection of the agent."""

    connection: socket.socket
    frames: FrameBuffer


class Launcher:
    """Serves one agent at a time; a new connection takes the place of the old one."""

    def __init__(self, listener: socket.socket, state_dir: Path, orphan_timeout_s: float) -> None:
        self._listener = listener
        self._orphan_timeout_s = orphan_timeout_s
        self._workers: dict[str, int] = {}
        self._templates = Templates(state_dir, orphan_timeout_s)
        self._agent: Agent | None = None
        self._alone_since = time.monotonic()
        self._is_ending = False
        self._selector = selectors.DefaultSelector()
        self._wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(wake_write)
        self._selector.register(listener, selectors.EVENT_READ, self._on_connect)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._on_wake)

    def serve(self) -> None:
        """Until it is told to end, or until there is neither agent nor worker for too long."""
        while not self._is_ending and not self._is_forsaken():
            for key, _ in self._selector.select(_POLL_S):
                key.data()
            for template in self._templates.end_idle():
                self._selector.unregister(template.control)
                template.control.close()
        end_children()

    def _is_forsaken(self) -> bool:
        if self._agent is not None or self._workers:
            self._alone_since = time.monotonic()
        return time.monotonic() - self._alone_since > self._orphan_timeout_s

    # The agent

    def _on_connect(self) -> None:
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
        self._drop_agent()
        agent = self._agent = Agent(connection, FrameBuffer())
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._on_readable(agent))
        listed = [{"worker": worker, "pid": pid} for worker, pid in self._workers.items()]
        self._tell({"workers": {"workers": listed}})

    def _on_readable(self, agent: Agent) -> None:
        if agent is not self._agent:
            # Dropped after this look at the sockets had found it readable.
            return
        try:
            data = agent.connection.recv(65536)
            requests = agent.frames.feed(data)
        except (OSError, BadFrame):
            data, requests = b"", []
        for request in requests:
            self._on_request(request)
        if not data and agent is self._agent:
            self._drop_agent()

    def _on_request(self, request: Message) -> None:
        if "spawn" in request:
            self._spawn(request["spawn"])
        elif "kill" in request:
            kill = request["kill"]
            self._kill(kill["worker"], int(kill.get("signal", 0)) or signal.SIGKILL)
        elif "shut_down" in request:
            self._is_ending = True

    def _drop_agent(self) -> None:
        if self._agent is not None:
            self._selector.unregister(self._agent.connection)
            self._agent.connection.close()
            self._agent = None

    def _tell(self, message: Message) -> None:
        if self._agent is not None:
            try:
                self._agent.connection.sendall(encode(message))
            except OSError:
                # It is gone, or does not read; the next one is told of every worker when it connects.
                self._drop_agent()

    # Workers

    def _spawn(self, spawn: Message) -> None:
        worker = spawn["worker"]
        if worker in self._workers:
            self._tell({"spawned": {"worker": worker, "error": f"there is a worker {worker!r} already"}})
        elif spawn.get("python") or spawn.get("imports"):
            self._spawn_warm(spawn)
        else:
            self._spawn_here(spawn)

    def _spawn_here(self, spawn: Message) -> None:
        try:
            with listen(spawn["socket_path"]) as listener:
                pid = fork_worker(spawn, listener, self._orphan_timeout_s)
        except OSError as error:
            self._tell({"spawned": {"worker": spawn["worker"], "error": f"cannot start a worker: {error}"}})
            return
        self._on_spawned({"worker": spawn["worker"], "pid": pid})

    def _spawn_warm(self, spawn: Message) -> None:
        try:
            template, is_new = self._templates.get(spawn)
        except OSError as error:
            self._tell(
                {
                    "spawned": {
                        "worker": spawn["worker"],
                        "error": f"cannot start {spawn.get('python') or 'a template'}: {error}",
                    }
                }
            )
            return
        if is_new:
            self._selector.register(
                template.control, selectors.EVENT_READ, lambda: self._on_template(template)
            )
        template.request(spawn)

    def _on_template(self, template: Template) -> None:
        answers, is_open = template.answers()
        for answer in answers:
            self._on_spawned(answer)
        if not is_open:
            self._selector.unregister(template.control)
            for worker in self._templates.lost(template):
                reason = "the interpreter of its environment ended before it could be forked; see its log"
                self._on_spawned({"worker": worker, "error": reason})

    def _on_spawned(self, spawned: Message) -> None:
        if "pid" in spawned:
            self._workers[spawned["worker"]] = spawned["pid"]
        self._tell({"spawned": spawned})

    def _kill(self, worker: str, number: int) -> None:
        pid = self._workers.get(worker)
        if pid is not None:
            # Not reaped before it leaves the table, so the pid is still this worker's.
            os.kill(pid, number)

    # Ends of processes

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            self._is_ending = True

    def _on_wake(self) -> None:
        os.read(self._wake_read, 4096)
        self._reap()

    def _reap(self) -> None:
        while has_children():
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            self._on_child_ended(pid, status)
        if not self._templates.is_forking:
            self._end_orphans()

    def _on_child_ended(self, pid: int, status: int) -> None:
        worker = next((name for name, known in self._workers.items() if known == pid), None)
        if worker is None:
            return
        del self._workers[worker]
        ended: Message = {"worker": worker}
        if os.WIFSIGNALED(status):
            ended["signal"] = os.WTERMSIG(status)
        elif os.WEXITSTATUS(status):
            ended["exit_code"] = os.WEXITSTATUS(status)
        self._tell({"ended": ended})

    def _end_orphans(self) -> None:
        known = {*self._workers.values(), *self._templates.pids()}
        for pid in children():
            if pid not in known:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue


def lock(path: str) -> bool:
    """Whether this process is now the only launcher for the socket at ``path``; for its lifetime."""
    Path(path).parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        os.close(fd)
        return False
    return True


def detach() -> int:
    """Goes on in a child of its own session; the parent ends when the child listens, with its exit code
    otherwise. The descriptor to write a byte to when it does."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(read_end)
        os.setsid()
        return write_end
    os.close(write_end)
    if os.read(read_end, 1):
        os._exit(0)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF or 1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="services.agent.launcher", description="Forks and keeps workers.")
    parser.add_argument("--socket", required=True, help="Unix socket to listen on")
    parser.add_argument("--state", type=Path, required=True, help="directory for what it needs on disk")
    parser.add_argument("--orphan-timeout", type=float, default=3600.0, help="seconds without agent and work")
    parser.add_argument(
        "--detach", action="store_true", help="return when it listens, and go on without a parent"
    )
    options = parser.parse_args()
    ready = detach() if options.detach else -1
    if not lock(options.socket):
        print(f"another launcher serves {options.socket}", file=sys.stderr)
        return ALREADY_RUNNING
    try:
        listener = listen(options.socket)
    except InsecureDirectory as error:
        print(error, file=sys.stderr)
        return 2
    adopt_orphans()
    launcher = Launcher(listener, options.state.resolve(), options.orphan_timeout)
    os.chdir("/")
    if ready >= 0:
        os.write(ready, b"1")
        os.close(ready)
    launcher.serve()
    Path(options.socket).unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
