"""``python -m modelyard.worker``: a worker in an interpreter of its own.

Owns the command line only. The launcher uses it for environments that it cannot fork into.
"""

import argparse
import os
import socket
import sys
from importlib import import_module

from modelyard.worker.harness import run_worker
from modelyard.worker.sockets import listen


def main() -> int:
    parser = argparse.ArgumentParser(prog="modelyard.worker", description="Runs work for an agent.")
    parser.add_argument("--socket", default="", help="path to listen on")
    parser.add_argument("--listener-fd", type=int, default=-1, help="an inherited listening socket instead")
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], help="module to import first"
    )
    parser.add_argument("--path", dest="paths", action="append", default=[], help="put before sys.path")
    parser.add_argument("--orphan-timeout", type=float, default=3600.0, help="seconds without an agent")
    options = parser.parse_args()
    sys.path[:0] = options.paths
    for name in options.imports:
        import_module(name)
    if options.listener_fd >= 0:
        listener = socket.socket(fileno=options.listener_fd)
        listener.set_inheritable(False)
    else:
        listener = listen(options.socket)
    return run_worker(listener, os.dup(2), options.orphan_timeout, options.imports)


if __name__ == "__main__":
    # Threads that user code has left behind must not keep the process.
    sys.stdout.flush()
    code = main()
    os._exit(code)
