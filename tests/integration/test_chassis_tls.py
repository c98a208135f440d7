"""TLS with the yard's own authority, and the port whose clients are known by their certificate."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio

from modelyard.channel import connect
from services.chassis.process.tls import (
    Authority,
    ensure_authority,
    ensure_server_files,
    make_ca,
    make_request,
    sign_request,
)
from services.chassis.rpc.server import TlsFiles, bind, make_server
from tests.support import echo_service as echo
from tests.support.echo_service import USER_TOKEN, EchoServicer, FewTokens, call_one


@dataclass
class Secured:
    """Addresses of a TLS port and of a port for certificates."""

    folder: Path
    authority: Authority
    port: int
    certificate_port: int

    @property
    def ca_file(self) -> Path:
        return self.folder / "tls" / "ca.pem"

    def files(self, name: str, authority: Authority | None = None, **options: object) -> dict[str, Path]:
        """Certificate and key of a node, signed by `authority`."""
        csr, key = make_request(name)
        certificate = sign_request(authority or self.authority, csr, name, **options)  # type: ignore[arg-type]
        found = {"cert_file": self.folder / "node.pem", "key_file": self.folder / "node.key"}
        found["cert_file"].write_bytes(certificate)
        found["key_file"].write_bytes(key)
        return found

    def channel(self, port: int, token: str = "", **files: Path) -> grpc.aio.Channel:
        return connect(f"127.0.0.1:{port}", token=token, **{"ca_file": self.ca_file, **files})


@pytest_asyncio.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    files = ensure_server_files(tmp_path, ["127.0.0.1"])
    server = make_server(FewTokens(), echo.RULES)
    echo.add_to(server, EchoServicer())
    port = bind(server, "127.0.0.1", 0, files)
    certificate_port = bind(server, "127.0.0.1", 0, files, client_certificates=True)
    await server.start()
    yield Secured(tmp_path, ensure_authority(tmp_path), port, certificate_port)
    await server.stop(0)


async def fails_to_connect(channel: grpc.aio.Channel) -> bool:
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call_one(channel, "a", timeout=5)
    return caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.asyncio
async def test_certificate_names_the_node_that_calls(secured: Secured) -> None:
    async with secured.channel(secured.certificate_port, **secured.files("node-1")) as channel:
        assert (await call_one(channel, "who")).value == "agent//node-1"


@pytest.mark.asyncio
async def test_token_goes_before_the_certificate(secured: Secured) -> None:
    async with secured.channel(secured.certificate_port, USER_TOKEN, **secured.files("node-1")) as channel:
        assert (await call_one(channel, "who")).value == "user/alice/"


@pytest.mark.asyncio
async def test_certificate_port_refuses_clients_without_certificate(secured: Secured) -> None:
    assert await fails_to_connect(secured.channel(secured.certificate_port, USER_TOKEN))


@pytest.mark.asyncio
async def test_certificate_port_refuses_certificates_of_another_authority(secured: Secured) -> None:
    files = secured.files("node-1", make_ca())
    assert await fails_to_connect(secured.channel(secured.certificate_port, **files))


@pytest.mark.asyncio
async def test_certificate_port_refuses_expired_certificates(secured: Secured) -> None:
    files = secured.files("node-1", ttl=datetime.timedelta(minutes=-1))
    assert await fails_to_connect(secured.channel(secured.certificate_port, **files))


@pytest.mark.asyncio
async def test_client_refuses_a_server_of_another_authority(secured: Secured, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(make_ca().pem)
    assert await fails_to_connect(secured.channel(secured.port, USER_TOKEN, ca_file=other))


@pytest.mark.asyncio
async def test_plaintext_client_cannot_talk_to_a_tls_port(secured: Secured) -> None:
    assert await fails_to_connect(connect(f"127.0.0.1:{secured.port}", token=USER_TOKEN))


@pytest.mark.asyncio
@pytest.mark.parametrize("node", ["localhost", "127.0.0.1"])
async def test_node_cannot_pass_for_a_service_by_its_certificate(secured: Secured, node: str) -> None:
    """It may be dialled as a node; who looks for a host does not find one in it, whatever the node is called."""
    found = secured.files(node)
    impostor = make_server(FewTokens(), echo.RULES)
    echo.add_to(impostor, EchoServicer())
    files = TlsFiles(found["cert_file"], found["key_file"], secured.ca_file)
    port = bind(impostor, "127.0.0.1", 0, files)
    await impostor.start()
    try:
        async with connect(f"{node}:{port}", ca_file=secured.ca_file) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call_one(channel, "a", timeout=20)
        # gRPC says the first where the connection, and the second where the call is refused; both before it leaves.
        refused = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)
        assert caught.value.code() in refused
    finally:
        await impostor.stop(0)
