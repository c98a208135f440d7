"""``python -m modelyard.serving``: a frame, as its launch file says.

Owns the process: what is told to libraries before they are loaded, and that nothing is left of it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from modelyard.serving.launch import FILE_VARIABLE, SECRET_VARIABLE, BadLaunch, prepare_libraries, read_launch


def main() -> int:
    """Exit status: 0 it was ended, 2 it could not begin. A component that cannot be loaded is told to the service."""
    secret = os.environ.pop(SECRET_VARIABLE, "")
    try:
        launch = read_launch(Path(os.environ.get(FILE_VARIABLE) or "."))
    except BadLaunch as error:
        print(f"{FILE_VARIABLE}: {error}", file=sys.stderr)
        return 2
    if not secret:
        print(f"{SECRET_VARIABLE} is empty: whoever calls this frame has to show a secret", file=sys.stderr)
        return 2
    prepare_libraries(launch.settings)
    # The component is read-only.
    sys.dont_write_bytecode = True

    from modelyard.serving.family import adopt, end_children
    from modelyard.serving.proving import prove, unloadable_header
    from modelyard.serving.server import Leaving, Server

    adopt()
    server = Server(secret, launch.settings.threads, launch.message_bytes_most)
    try:
        server.listen(launch.listen)
    except (OSError, ValueError) as error:
        print(f"cannot listen at {launch.listen}: {error}", file=sys.stderr)
        return 2
    try:
        proved = prove(launch)
        server.loaded(proved.runner, proved.header())
    except (Exception, SystemExit) as error:
        # Whatever a component raises is told; the frame itself is well.
        server.unloadable(unloadable_header(error))
    except Leaving:
        end_children()
        return 0
    code = server.wait()
    end_children()
    return code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that a component has left behind must not keep the process.
    os._exit(code)
