"""From a configuration to a serving process and back: the life of every service.

Owns the order of start and stop, signals, exit codes and what the operator reads when a start is
refused. Exit codes: 0 stopped as asked, 1 crashed, 2 the start was refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from modelyard.addresses import is_loopback
from services.chassis import failpoints, logs
from services.chassis.audit.log import AuditLog
from services.chassis.clock import SystemClock
from services.chassis.errors import ServiceError, StartRefused
from services.chassis.metrics.figures import Family
from services.chassis.metrics.registry import make_metrics
from services.chassis.process import memory
from services.chassis.process.config import AuditedConfig, ServiceConfig
from services.chassis.process.state_dir import StateLock, ready_file, write_ready
from services.chassis.process.supervise import Loops
from services.chassis.security import Authenticator, RuleTable

if TYPE_CHECKING:
    import grpc.aio

    from services.chassis.rpc.server import Limits

# Together below the 5 s in which a service ends after SIGTERM.
DRAIN_TIMEOUT_S = 1.5
STOP_GRACE_S = 1.0
CLOSE_TIMEOUT_S = 2.0

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


@runtime_checkable
class Shown(Protocol):
    """A service that has figures of its own."""

    async def figures(self) -> list[Family]:
        """What they are now; called for each scrape, after `open`."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """A service with bounds of its own for messages and times."""

    limits: Limits


ConfigT = TypeVar("ConfigT", bound=ServiceConfig)


class HostNeedsTls(StartRefused):
    """Anything but loopback needs TLS."""


def run(service_of: Callable[[ConfigT, Loops], Service], config: ConfigT, *, listen: bool = True) -> int:
    """Run the service until SIGTERM, SIGINT or a crash, and return the process's exit code.

    With `listen` False no port is opened (an agent dials out), all else is the same.
    """
    logs.setup(config.log_level, config.log_format)
    try:
        failpoints.arm(os.environ)
        return asyncio.run(_live(service_of, config, listen))
    except (StartRefused, ServiceError) as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 2


async def _live(service_of: Callable[[ConfigT, Loops], Service], config: ConfigT, listen: bool) -> int:
    ending = Ending()
    if listen:
        require_safe_binding(config)
    loops = Loops()
    service = service_of(config, loops)
    with StateLock(config.state_dir, service.name):
        audit = await _open_audit(service, config, loops)
        try:
            crashed = await _serve(service, config, loops, ending, audit, listen)
        finally:
            await _close(service, loops, audit)
            ready_file(config.state_dir, service.name).unlink(missing_ok=True)
    return 1 if crashed else 0


async def _open_audit(service: Service, config: ServiceConfig, loops: Loops) -> AuditLog | None:
    """Where the service keeps one: <state>/<service>/audit.db."""
    if not isinstance(config, AuditedConfig):
        return None
    audit = await AuditLog.open(
        config.state_dir / service.name / "audit.db",
        keep_days=config.audit_keep_days,
        keep_bytes=config.audit_keep_bytes,
    )
    loops.start("audit", audit.run())
    return audit


async def _serve(
    service: Service,
    config: ServiceConfig,
    loops: Loops,
    ending: Ending,
    audit: AuditLog | None,
    listen: bool,
) -> bool:
    """Open, serve, stop serving; whether a crash was the reason."""
    opening = asyncio.ensure_future(service.open())
    if not await ending.outlasts(opening, loops):
        return loops.crash is not None
    async with _listening(service, config, audit, listen) as address:
        write_ready(config.state_dir, service.name, address, SystemClock().now_ms())
        _log.info("service_ready", service=service.name, address=address)
        memory.settle()
        await ending.outlasts(None, loops)
        _log.info("service_stopping", service=service.name, crashed=loops.crash is not None)
    return loops.crash is not None


class Ending:
    """SIGTERM and SIGINT ask the service to end; a crashed loop ends it too."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked.set)

    async def outlasts(self, work: asyncio.Future[None] | None, loops: Loops) -> bool:
        """Wait for `work` (None: for ever) or the end; whether the work was done, else it is cancelled."""
        ends = [asyncio.ensure_future(self._asked.wait()), asyncio.ensure_future(loops.wait_crashed())]
        waits: list[asyncio.Future[Any]] = [*ends, work] if work is not None else [*ends]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if work is None or not work.done():
                return False
            work.result()
            return True
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


async def _close(service: Service, loops: Loops, audit: AuditLog | None) -> None:
    """Close everything, or end the process: threads of a library must not keep it alive for ever.

    Ending abruptly is safe, because all that was acknowledged is on the disk.
    """
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            try:
                await loops.close()
            finally:
                try:
                    await service.close()
                finally:
                    if audit is not None:
                        await audit.close()
    except TimeoutError:
        _log.error("close_timed_out", service=service.name, timeout_s=CLOSE_TIMEOUT_S)
        sys.stdout.flush()
        os._exit(1)


async def _drain(service: Service) -> None:
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            await service.drain()
    except TimeoutError:
        _log.warning("drain_timed_out", service=service.name, timeout_s=DRAIN_TIMEOUT_S)


@contextlib.asynccontextmanager
async def _listening(
    service: Service, config: ServiceConfig, audit: AuditLog | None, listen: bool
) -> AsyncIterator[str]:
    """The server while it accepts calls; yields its address. On leaving: drain, then stop."""
    metrics = make_metrics(config.metrics_port)
    if isinstance(service, Shown):
        metrics.add(service.figures)
    if audit is not None:
        metrics.add(audit.figures)
    try:
        if not listen:
            yield ""
            await _drain(service)
            return
        from services.chassis.rpc.server import add_audit, add_health_and_reflection, make_server

        limits = service.limits if isinstance(service, Bounded) else None
        server = make_server(service.authenticator(), service.rules, metrics, audit, limits)
        names = [*service.register(server)]
        if audit is not None:
            names.append(add_audit(server, audit, service.name))
        health = await add_health_and_reflection(server, names)
        address = _bind(server, config)
        await server.start()
        try:
            yield address
            await health.enter_graceful_shutdown()
            await _drain(service)
        finally:
            await server.stop(STOP_GRACE_S)
    finally:
        metrics.close()


def _bind(server: grpc.aio.Server, config: ServiceConfig) -> str:
    """Open the port and return the address that clients use."""
    from services.chassis.rpc.server import bind

    tls = None
    if config.tls:
        from services.chassis.process.tls import ensure_server_files

        tls = ensure_server_files(config.state_dir, [config.host])
    port = bind(server, config.host, config.port, tls)
    return f"[{config.host}]:{port}" if ":" in config.host else f"{config.host}:{port}"


def require_safe_binding(config: ServiceConfig) -> None:
    """Refuse to listen where others could read along: any address but loopback needs TLS."""
    if config.tls or is_loopback(config.host):
        return
    raise HostNeedsTls(
        f"listening on {config.host} without TLS would show tokens to the network;"
        " add --tls, or listen on --host 127.0.0.1"
    )
