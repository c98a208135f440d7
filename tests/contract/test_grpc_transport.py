"""gRPC still knows the choice that services make of its transport (`services.chassis.process.transport`)."""

import subprocess
import sys

PROGRAM = """
import asyncio
from services.chassis.process import transport
transport.settle()
import grpc.aio

async def main():
    server = grpc.aio.server()
    assert server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await server.stop(0)

asyncio.run(main())
"""


def test_grpc_knows_every_experiment_that_is_named() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Unknown experiment" not in ended.stderr


def test_settle_after_grpc_was_imported_is_refused() -> None:
    program = "import grpc\nfrom services.chassis.process import transport\ntransport.settle()"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "gRPC is imported already" in ended.stderr
