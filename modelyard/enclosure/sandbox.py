"""A frame in an environment, shut in by the kernel: own user, own file system, no network, limits.

Owns how much of that can be had on this machine, and the process. As root: everything, with a user that nobody else
has. As another user: the same by a user namespace, where the kernel allows it. Else limits only, which is said on
stderr. A frame that is to have no network gets none, or is refused: that alone is not left out.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import sys
import zlib
from pathlib import Path

from modelyard.enclosure import calls, first, linux, walls
from modelyard.enclosure.census import holds_more_than
from modelyard.enclosure.confinement import DESCRIPTORS, FOUND
from modelyard.enclosure.order import (
    HANDED_ON,
    LAUNCH,
    LISTENER,
    SEAT,
    SECRET,
    TROUBLE_EXIT,
    Image,
    Order,
    Trouble,
    make_room,
    open_to_read,
    package_directory,
)
from modelyard.enclosure.watching import Watch

FULL, NAMESPACES, LIMITS = "full", "namespaces", "limits"
_FIRST_USER, _USERS = 100_000, 60_000
_SLACK_BYTES = 512 * 1024**2
_SIGNALLED = 128


def grade() -> str:
    """How much can be had here: "full", "namespaces", or "limits" only. Starts a process to find out."""
    if not sys.platform.startswith("linux"):
        return LIMITS
    pid = os.fork()
    if not pid:
        os._exit(_try_namespaces())
    _, status = os.waitpid(pid, 0)
    if status:
        return LIMITS
    return FULL if os.geteuid() == 0 else NAMESPACES


def _try_namespaces() -> int:
    try:
        _unshare_processes()
        _unshare_rest(has_network=False)
        linux.mount("", "/", "", linux.REC | linux.PRIVATE)
    except OSError:
        return 1
    pid = os.fork()
    if not pid:
        os._exit(_try_processes())
    return int(os.waitpid(pid, 0)[1] != 0)


def _try_processes() -> int:
    """Whether /proc of the new namespace may be mounted: not within a container whose engine hides parts of its own."""
    try:
        linux.mount("proc", "/proc", "proc", linux.NO_SUID | linux.NO_DEV | linux.NO_EXEC)
    except OSError:
        return 1
    return 0


def _unshare_processes() -> None:
    """Processes that are started from now on see each other only. Who is not root gets a namespace of users first, in
    which such things are allowed. Raises OSError."""
    if os.geteuid() == 0:
        linux.unshare(linux.NEW_PID)
        return
    user, group = os.geteuid(), os.getegid()
    linux.unshare(linux.NEW_USER | linux.NEW_PID)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")


def _unshare_rest(*, has_network: bool) -> None:
    """Raises OSError."""
    linux.unshare(linux.NEW_NS | linux.NEW_IPC | linux.NEW_UTS | (0 if has_network else linux.NEW_NET))


class Sandbox:
    """One frame."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._pid = 0
        self._pidfd = -1
        self._watch: Watch | None = None
        self.code: int | None = None
        self.image = Image()
        """How it has ended."""

    def start(self, listener: socket.socket | None, watch: Watch) -> None:
        """Raises Trouble, OSError."""
        order, self._watch = self._order, watch
        found = grade()
        open_to_read(order.component)
        if found == LIMITS:
            self._refuse_without_network(order)
            os.write(2, b"frame: shut in by limits only; its files are this user's\n")
        make_room(order, str(order.component) if found == LIMITS else walls.COMPONENT)
        self._pid = _start(order, found, -1 if listener is None else listener.fileno())
        self._pidfd = os.pidfd_open(self._pid)
        watch(self._pidfd, select.EPOLLIN, self._on_end)

    def _refuse_without_network(self, order: Order) -> None:
        if order.has_network or not order.runs_code:
            return
        message = (
            "this node cannot keep a frame from the network: its kernel gives ordinary users no namespaces; "
            "run the agent as root, allow user namespaces, use runtime.kind: container, or say runtime.network: true"
        )
        raise Trouble("FAILED_PRECONDITION", "runtime.network", message)

    def _on_end(self, _: int) -> None:
        assert self._watch is not None
        self._watch(self._pidfd, 0, None)
        _, status = os.waitpid(self._pid, 0)
        os.close(self._pidfd)
        self._pid, self._pidfd = 0, -1
        self.code = _SIGNALLED + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def signal(self, name: str) -> None:
        """To the frame's first process."""
        if self._pidfd >= 0:
            signal.pidfd_send_signal(self._pidfd, signal.Signals[name])

    def look(self) -> None:
        """Raises Trouble if it holds more memory than it may."""
        most = self._order.memory_bytes
        if most and self._pid and holds_more_than(self._pid, most):
            message = f"it needed more memory than the {most >> 20} MiB that it may have"
            raise Trouble("RESOURCE_EXHAUSTED", "runtime.memory", message)

    def close(self) -> None:
        """Ends it, and with the first process of its namespace all that it has started."""
        if self._pidfd >= 0:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._pidfd)
            self._pid, self._pidfd = 0, -1


def _start(order: Order, found: str, listener: int) -> int:
    """The pid of the frame's first process."""
    if found != LIMITS:
        # Of the namespace's processes the first is the frame: when it ends the kernel ends the others.
        _unshare_processes()
    pid = os.fork()
    if pid:
        return pid
    try:
        _become_frame(order, found, listener)
    except OSError as error:
        os.write(2, f"{Trouble('INTERNAL', '', f'the sandbox cannot be made: {error}').line()}\n".encode())
    os._exit(TROUBLE_EXIT)


def _become_frame(order: Order, found: str, listener: int) -> None:
    """Does not come back. Raises OSError."""
    os.setsid()
    linux.die_with_parent(signal.SIGKILL)
    python = _python(order)
    user = user_of(order.seat) if found == FULL else os.getuid()
    if found != LIMITS:
        root = order.room.with_name("root")
        root.mkdir(exist_ok=True)
        _unshare_rest(has_network=order.has_network)
        if not order.has_network:
            linux.loopback_up()
        walls.build(order, python, root, user)
        os.chdir("/tmp")
    _limit(order, found)
    if found == FULL:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    linux.no_new_privileges()
    linux.die_with_parent(signal.SIGKILL)
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing if listener < 0 else listener, LISTENER)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.closerange(LISTENER + 1, DESCRIPTORS)
    signal.set_wakeup_fd(-1)
    for number in (*HANDED_ON, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    if why := calls.installed(has_sockets=order.runs_code):
        os.write(2, f"frame: its calls of the kernel are not filtered: {why}\n".encode())
    if found != LIMITS:
        first.stay(os.fork)
    os.execve(python, [str(python), *_program(order, found)], _environ(order, found))


def _program(order: Order, found: str) -> tuple[str, ...]:
    """As it is seen from where the frame is."""
    if found != LIMITS:
        return order.program
    seen = {walls.COMPONENT: str(order.component), FOUND: str(order.found)}
    return tuple(
        seen.get(
            word, f"{order.room}{word.removeprefix(walls.ROOM)}" if word.startswith(walls.ROOM) else word
        )
        for word in order.program
    )


def user_of(seat: str) -> int:
    """Which user a frame is: the same for the same seat, and no user of the machine's."""
    return _FIRST_USER + zlib.crc32(seat.encode()) % _USERS


def _python(order: Order) -> Path:
    return order.environment / "bin" / "python" if order.environment else Path(sys.executable)


def _limit(order: Order, found: str) -> None:
    most = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: DESCRIPTORS,
        resource.RLIMIT_FSIZE: order.file_bytes,
        resource.RLIMIT_MEMLOCK: 64 * 1024,
    }
    if found != LIMITS:
        # Of this user in this namespace; elsewhere it would count all that the user has.
        most[resource.RLIMIT_NPROC] = order.pids
    if order.memory_bytes and not order.gpus:
        # Private memory, asked for or used; drivers of devices ask for far more than they use.
        most[resource.RLIMIT_DATA] = order.memory_bytes + _SLACK_BYTES
    for kind, value in most.items():
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _environ(order: Order, found: str) -> dict[str, str]:
    """All that the frame sees of it."""
    inside = found != LIMITS
    packages = walls.PACKAGES if inside else str(package_directory().parent)
    environ = {
        LAUNCH: f"{walls.ROOM}/launch.json" if inside else str(order.room / "launch.json"),
        SECRET: order.secret,
        SEAT: order.seat,
        "PATH": f"{_python(order).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": packages,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
        "HOME": "/tmp",
        "OMP_NUM_THREADS": str(order.threads),
        "OPENBLAS_NUM_THREADS": str(order.threads),
    }
    if order.gpus:
        environ["CUDA_VISIBLE_DEVICES"] = ",".join(order.gpus)
    return environ
