"""From a configuration to a serving process and back: the life of every service.

Owns the order of start and stop, signals, exit codes and what the operator reads when a start is
refused. Exit codes: 0 stopped as asked, 1 crashed, 2 the start was refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from services.chassis import logs
from services.chassis.clock import SystemClock
from services.chassis.config import ServiceConfig
from services.chassis.errors import StartRefused
from services.chassis.metrics import make_metrics
from services.chassis.security import Authenticator, RuleTable
from services.chassis.state_dir import StateLock, ready_file, write_ready
from services.chassis.supervise import Loops

if TYPE_CHECKING:
    import grpc.aio

    from services.chassis.server import TlsFiles

STOP_GRACE_S = 2.0
"""How long RPCs under way may go on after SIGTERM."""

_log = logs.get_logger("chassis.bootstrap")


class Service(Protocol):
    """What a service gives the chassis. Its constructor does no I/O."""

    name: str
    rules: RuleTable

    async def open(self) -> None:
        """Open the database, start loops; the port is not bound yet. May raise a StartRefused leaf."""
        ...

    def authenticator(self) -> Authenticator:
        """Who checks this service's tokens."""
        ...

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        """Add the servicers and return their full names, for health and reflection."""
        ...

    async def drain(self) -> None:
        """Stop taking work and end long streams; called on SIGTERM, before the server stops."""
        ...

    async def close(self) -> None:
        """Release everything. Also called when `open` raised; must then close what is open."""
        ...


ConfigT = TypeVar("ConfigT", bound=ServiceConfig)


class HostNeedsTls(StartRefused):
    """Anything but loopback needs TLS."""


def run(service_of: Callable[[ConfigT, Loops], Service], config: ConfigT, *, listen: bool = True) -> int:
    """Run the service until SIGTERM, SIGINT or a crash, and return the process's exit code.

    With `listen` False no port is opened (an agent dials out), all else is the same.
    """
    logs.setup(config.log_level, config.log_format)
    try:
        return asyncio.run(_live(service_of, config, listen))
    except StartRefused as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 2


async def _live(service_of: Callable[[ConfigT, Loops], Service], config: ConfigT, listen: bool) -> int:
    stopping = _stop_signal()
    require_safe_binding(config)
    loops = Loops()
    service = service_of(config, loops)
    with StateLock(config.state_dir, service.name):
        try:
            await service.open()
            async with _serving(service, config, listen) as address:
                write_ready(config.state_dir, service.name, address, SystemClock().now_ms())
                _log.info("service_ready", service=service.name, address=address)
                crashed = await _until_stopped(stopping, loops)
                _log.info("service_stopping", service=service.name, crashed=crashed)
        finally:
            await _close(service, loops)
            ready_file(config.state_dir, service.name).unlink(missing_ok=True)
    return 1 if crashed else 0


async def _close(service: Service, loops: Loops) -> None:
    try:
        await loops.close()
    finally:
        await service.close()


def _stop_signal() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


async def _until_stopped(stopping: asyncio.Event, loops: Loops) -> bool:
    """Wait for a stop signal or the crash of a loop; whether it was a crash."""
    signalled = asyncio.ensure_future(stopping.wait())
    crashed = asyncio.ensure_future(loops.wait_crashed())
    try:
        await asyncio.wait((signalled, crashed), return_when=asyncio.FIRST_COMPLETED)
        return crashed.done()
    finally:
        signalled.cancel()
        crashed.cancel()


@contextlib.asynccontextmanager
async def _serving(service: Service, config: ServiceConfig, listen: bool) -> AsyncIterator[str]:
    """The server while it accepts calls; yields its address. On leaving: drain, then stop."""
    metrics = make_metrics(config.metrics_port)
    try:
        if not listen:
            yield ""
            await service.drain()
            return
        from services.chassis.server import add_health_and_reflection, bind, make_server

        server = make_server(service.authenticator(), service.rules, metrics)
        names = service.register(server)
        health = await add_health_and_reflection(server, names)
        tls = _tls_files(config)
        port = bind(server, config.host, config.port, tls)
        await server.start()
        try:
            yield f"{config.host}:{port}"
            await health.enter_graceful_shutdown()
            await service.drain()
        finally:
            await server.stop(STOP_GRACE_S)
    finally:
        metrics.close()


def _tls_files(config: ServiceConfig) -> TlsFiles | None:
    if not config.tls:
        return None
    from services.chassis.tls import ensure_server_files

    return ensure_server_files(config.state_dir, [config.host])


def require_safe_binding(config: ServiceConfig) -> None:
    """Refuse to listen where others could read along: any address but loopback needs TLS."""
    if config.tls or is_loopback(config.host):
        return
    raise HostNeedsTls(
        f"listening on {config.host} without TLS would show tokens to the network;"
        " add --tls, or listen on --host 127.0.0.1"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`, an address or 'localhost'."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
