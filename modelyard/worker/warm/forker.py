"""A process that has imported what programs need, and forks them: `python train.py` in milliseconds.

Owns one child of a worker that was born with imports, forked before the worker has a second thread; it does nothing
but fork. What it forks is handed to the worker, which is the only one to reap.
"""

import array
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from modelyard.worker.frames import HEADER, Message, encode
from modelyard.worker.processes.executables import Executables, NotExecutable
from modelyard.worker.warm.handing import fork_away
from modelyard.worker.warm.reborn import Program, become, may_become, program_of
from modelyard.worker.warm.shedding import close_others

_REQUEST_BYTES = 8 * 1024 * 1024


class Forker:
    """The worker's end."""

    def __init__(self, imports: Sequence[str], born_with: Mapping[str, str]) -> None:
        """Forks the child; the process has one thread."""
        self._imports = frozenset(imports)
        self._born_with = dict(born_with)
        self._executables = Executables()
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            _serve(theirs)
        theirs.close()
        self._socket = ours

    def takes(
        self, argv: Sequence[str], env: Mapping[str, str], directory: str, imports: Sequence[str]
    ) -> bool:
        """Whether it can stand for executing this: the same interpreter, which would have begun alike."""
        if not imports or not self._imports.issuperset(imports) or program_of(argv[1:]) is None:
            return False
        try:
            path = Path(self._executables.find(argv[0], env, directory))
        except NotExecutable:
            return False
        own = Path(sys.executable)
        is_own = path.parent == own.parent and path.name.startswith("python")
        return is_own and may_become(env, self._born_with)

    def spawn(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        directory: str,
        fds: Sequence[int],
        cgroups: Sequence[str],
    ) -> int:
        """The pid of the program, which is a child of this process. Raises OSError."""
        request = {"argv": list(argv), "env": dict(env), "directory": directory, "cgroups": list(cgroups)}
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        frame = encode(request)
        # The descriptors go with the length.
        self._socket.sendmsg([frame[: HEADER.size]], rights)
        self._socket.sendall(frame[HEADER.size :])
        answer = self._socket.recv(4)
        pid = int.from_bytes(answer, "big")
        if not pid:
            raise OSError("the warm parent has ended")
        return pid


def _serve(control: socket.socket) -> NoReturn:
    """Forks for as long as the worker lives."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        close_others({control.fileno()})
        while True:
            request, fds = _receive(control)
            pid = fork_away(partial(_become, request, fds))
            for fd in fds:
                os.close(fd)
            control.sendall(pid.to_bytes(4, "big"))
    except EOFError:
        os._exit(0)
    except BaseException:  # nobody is above: its last words are all that is heard of it
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(1)


def _receive(control: socket.socket) -> tuple[Message, list[int]]:
    """A request and its descriptors. Raises EOFError."""
    head, fds, _, _ = socket.recv_fds(control, HEADER.size, 8)
    if len(head) < HEADER.size:
        raise EOFError
    (size,) = HEADER.unpack(head)
    body = bytearray()
    while len(body) < min(size, _REQUEST_BYTES):
        data = control.recv(min(65536, size - len(body)))
        if not data:
            raise EOFError
        body += data
    return json.loads(body), list(fds)


def _become(request: Message, fds: list[int]) -> NoReturn:
    program: Program | None = program_of(request["argv"][1:])
    if program is None:
        os._exit(127)
    become(program, request["env"], request["directory"], fds, request["cgroups"])
