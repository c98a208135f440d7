"""One process, started: in a session of its own, with its logs, within its cgroups.

Owns the way from argv to a pid. By ``posix_spawn`` (0.7 ms where a fork of this process would take twice that). Where
there are cgroups, ``/bin/sh`` enters them before the program's first instruction and then becomes the program. Without
cgroups a memory limit is an address-space limit that is set a few microseconds after the spawn, while the program is
still being loaded.
"""

import os
import resource
import signal
from collections.abc import Mapping, Sequence

from modelyard.worker.frames import Message
from modelyard.worker.processes.executables import Executables

_ENTER = """for d in $YARD_CGROUPS; do echo $$ > "$d/cgroup.procs" || exit 125; done 2>&3
unset YARD_CGROUPS; exec 3>&-; exec "$@"
"""
# Python ignores these; a command must start with the defaults.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGUSR1, signal.SIGINT)


class Spawner:
    """Starts processes on top of this process's own environment."""

    def __init__(self) -> None:
        self._env = dict(os.environ)
        self._executables = Executables()

    def whole(self, env: Mapping[str, str]) -> dict[str, str]:
        """A process's environment."""
        return {**self._env, **env}

    def spawn(
        self,
        argv: list[str],
        env: Mapping[str, str],
        directory: str,
        fds: Sequence[int],
        cgroups: Sequence[str] = (),
        trouble_write: int = -1,
    ) -> int:
        """Its pid. ``fds``: what becomes stdin, stdout and stderr; ``trouble_write``: where it is told that a cgroup
        cannot be entered. Raises NotExecutable, OSError."""
        whole = self.whole(env)
        path = self._executables.find(argv[0], whole, directory)
        if cgroups:
            whole["YARD_CGROUPS"] = " ".join(cgroups)
            path, argv = "/bin/sh", ["sh", "-c", _ENTER, "sh", path, *argv[1:]]
        actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(fds)]
        if trouble_write >= 0:
            actions.append((os.POSIX_SPAWN_DUP2, trouble_write, 3))
        # posix_spawn has no working directory of its own; nothing else in a worker depends on ours.
        os.chdir(directory)
        try:
            return os.posix_spawn(
                path,
                argv,
                whole,
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=_DEFAULT_SIGNALS,
            )
        finally:
            os.chdir("/")


def limit_memory(pid: int, limits: Message) -> None:
    """Where no cgroup does it."""
    memory = int(limits.get("memory_bytes", 0))
    if memory and not limits.get("cgroup_paths"):
        try:
            resource.prlimit(pid, resource.RLIMIT_AS, (memory, memory))
        except ProcessLookupError:
            return


def signal_group(pid: int, number: int) -> None:
    """To a process and all that has stayed in its group; nothing if there is none."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} ({number})"
    except ValueError:
        return f"signal {number}"
