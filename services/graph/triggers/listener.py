"""Webhooks: an HTTP port that takes signed deliveries, and nothing else. The library is loaded only where it is wanted.

202 means that the firing is on disk. Who cannot sign learns nothing, not even which triggers there are.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from modelyard.addresses import is_loopback
from services.chassis.errors import StartRefused
from services.chassis.logs import get_logger
from services.chassis.rpc.server import TlsFiles
from services.graph.config import GraphConfig
from services.graph.triggers.deliveries import Answer, Deliveries, Delivery

BODY_MOST = 256 << 10
READ_S = 10.0
PREFIX = "/triggers/"
_log = get_logger("graph.webhooks")


class WebhooksMissing(StartRefused):
    """Webhooks need an HTTP library: pip install 'modelyard[webhooks]'."""


class WebhooksNeedTls(StartRefused):
    """Anything but loopback needs TLS."""


class WebhookPortTaken(StartRefused):
    """The port of webhooks cannot be listened on."""


class Listener:
    """The port. `open` binds it, `close` lets deliveries that are under way end."""

    def __init__(self, deliveries: Deliveries, host: str, port: int, tls: TlsFiles | None) -> None:
        self._deliveries = deliveries
        self._host = host
        self._port = port
        self._tls = tls
        self._runner: Any = None
        self.url = ""

    async def open(self) -> None:
        """Raises StartRefused leaves."""
        try:
            from aiohttp import web
        except ImportError as error:
            raise WebhooksMissing from error
        application = web.Application(client_max_size=BODY_MOST)
        application.router.add_post(PREFIX + "{trigger}", self._post)
        self._runner = web.AppRunner(
            application, access_log=None, keepalive_timeout=15, handle_signals=False, shutdown_timeout=5
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._context())
        try:
            await site.start()
        except OSError as error:
            raise WebhookPortTaken(f"webhooks: {self._host}:{self._port}: {error.strerror}") from error
        host, port = self._runner.addresses[0][:2]
        scheme = "https" if self._tls is not None else "http"
        self.url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        _log.info("webhooks_listen", url=self.url)

    async def close(self) -> None:
        """Idempotent."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _context(self) -> ssl.SSLContext | None:
        if self._tls is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._tls.certificate, self._tls.key)
        return context

    async def _post(self, request: Any) -> Any:
        from aiohttp import web

        try:
            async with asyncio.timeout(READ_S):
                body = await request.read()
        except TimeoutError:
            return _response(Answer(408, "BODY_SLOW", f"the body took longer than {READ_S:.0f} s"))
        except web.HTTPRequestEntityTooLarge:
            return _response(Answer(413, "BODY_TOO_LARGE", f"a body has at most {BODY_MOST} bytes"))
        headers = {name.lower(): text for name, text in request.headers.items()}
        delivery = Delivery(request.match_info["trigger"], headers, body)
        answer = await self._deliveries.take(delivery)
        if answer.status >= 400:
            _log.info(
                "webhook_refused", trigger=delivery.trigger[:40], status=answer.status, reason=answer.reason
            )
        return _response(answer)


def listener_of(config: GraphConfig, deliveries: Deliveries) -> Listener | None:
    """As it is configured; None: there is none. Raises StartRefused leaves."""
    if not config.webhook_port:
        return None
    if not config.tls and not is_loopback(config.webhook_host):
        raise WebhooksNeedTls(f"--webhook-host {config.webhook_host} is not loopback: add --tls")
    tls = None
    if config.tls:
        from services.chassis.process.tls import ensure_server_files

        # The service's own port has the same certificate.
        tls = ensure_server_files(config.state_dir, [config.host, config.webhook_host])
    return Listener(deliveries, config.webhook_host, config.webhook_port, tls)


def _response(answer: Answer) -> Any:
    from aiohttp import web

    said = (
        {"firing": answer.firing} if answer.firing else {"reason": answer.reason, "message": answer.message}
    )
    headers = {"Retry-After": "10"} if answer.status == 503 else None
    return web.json_response(said, status=answer.status, headers=headers)
