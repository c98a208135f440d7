"""A warm parent: an interpreter that has imported what workers need, and forks them in milliseconds.

Owns the imports and the forks of one environment. A template lives below the launcher; the workers that it
forks are handed over to the launcher, which is the only one to reap.
"""

import argparse
import os
import socket
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module

from modelyard.worker.birth import become_worker
from modelyard.worker.frames import FrameBuffer, Message, encode
from modelyard.worker.sockets import listen
from modelyard.worker.warm.handing import fork_away
from modelyard.worker.warm.shedding import close_others, forget_modules, reset_signals


def serve(control: socket.socket, paths: list[str], imports: list[str], orphan_timeout_s: float) -> None:
    """Forks a worker for each SpawnWorker until the launcher closes its end."""
    sys.path[:0] = paths
    trouble = _import(imports)
    frames = FrameBuffer()
    while data := control.recv(65536):
        for spawn in frames.feed(data):
            answer = (
                {"worker": spawn["worker"], "error": trouble} if trouble else _spawn(spawn, orphan_timeout_s)
            )
            control.sendall(encode(answer))


def _import(names: list[str]) -> str:
    """What went wrong, or ""."""
    for name in names:
        try:
            import_module(name)
        except BaseException as error:
            # A user's module may raise anything; every spawn of this template answers with it.
            traceback.print_exc()
            return f"cannot import {name!r}: {type(error).__name__}: {error}"
    return ""


def _spawn(spawn: Message, orphan_timeout_s: float) -> Message:
    name = spawn["worker"]
    try:
        listener = listen(spawn["socket_path"])
    except OSError as error:
        return {"worker": name, "error": f"cannot listen at {spawn['socket_path']}: {error}"}
    with listener:
        # The paths are in place already.
        settled: Message = {**spawn, "paths": []}
        pid = fork_away(lambda: become_worker(settled, listener, orphan_timeout_s))
    return {"worker": name, "pid": pid}


def main() -> int:
    parser = argparse.ArgumentParser(prog="modelyard.worker.template", description="Forks warm workers.")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--path", dest="paths", action="append", default=[])
    parser.add_argument("--import", dest="imports", action="append", default=[])
    parser.add_argument("--orphan-timeout", type=float, default=3600.0)
    options = parser.parse_args()
    control = socket.socket(fileno=options.control_fd)
    control.set_inheritable(False)
    serve(control, options.paths, options.imports, options.orphan_timeout)
    return 0


def fork_template(
    control: socket.socket,
    paths: list[str],
    imports: list[str],
    orphan_timeout_s: float,
    env: Mapping[str, str] | None = None,
) -> int:
    """Forks a template from a process that has one thread; its pid, in the parent only."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        reset_signals()
        close_others({control.fileno()})
        forget_modules("services", "cli")
        os.environ.update(env or {})
        serve(control, paths, imports, orphan_timeout_s)
        code = 0
    except BaseException:  # nobody is above: its last words are all that is heard of it
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


if __name__ == "__main__":
    raise SystemExit(main())
