"""How gRPC does its input and output in a service.

Its event engine hands every message from thread to thread, which on few cores costs a quarter of a stream's round
trip; the poller that it is to replace does not. gRPC reads the choice when it is imported.
"""

import os
import sys

EXPERIMENTS = "-event_engine_client,-event_engine_listener"


def settle() -> None:
    """Makes the choice, unless the environment has made one. The first call must come before anything imports gRPC."""
    if "grpc" in sys.modules and "GRPC_EXPERIMENTS" not in os.environ:
        raise RuntimeError("gRPC is imported already")
    os.environ.setdefault("GRPC_EXPERIMENTS", EXPERIMENTS)
