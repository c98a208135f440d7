"""Which server is asked, and for which model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelyard.oip.v2 import inference_pb2 as pb
from modelyard.oip.v2 import inference_pb2_grpc as rpc

HOST = os.environ.get("CONFORMANCE_HOST", "")
TIMEOUT_S = 60.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only where a server is named."""
    for item in items:
        if "tests/conformance" in item.path.as_posix() and not HOST:
            item.add_marker(pytest.mark.skip(reason="run by `make conformance HOST=…`"))


class Server:
    """Calls with the token in plain metadata, and a deadline."""

    def __init__(self, channel: grpc.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self.stub = rpc.GRPCInferenceServiceStub(channel)
        self.metadata = metadata

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.stub, name)

        def call(request: Any, **more: Any) -> Any:
            return method(request, **{"timeout": TIMEOUT_S, "metadata": self.metadata, **more})

        return call

    def extension(self, name: str, request: Any, **more: Any) -> Any:
        """The same for what a server need not have."""
        try:
            return getattr(self, name)(request, **more)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                pytest.skip(f"the server has no {name}")
            raise


@pytest.fixture(scope="session")
def channel() -> Iterator[grpc.Channel]:
    options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20),
               ("grpc.enable_http_proxy", 0)]  # fmt: skip
    ca_file = os.environ.get("CONFORMANCE_CA_FILE", "")
    if ca_file:
        credentials = grpc.ssl_channel_credentials(Path(ca_file).expanduser().read_bytes())
        made = grpc.secure_channel(HOST, credentials, options=options)
    else:
        made = grpc.insecure_channel(HOST, options=options)
    with made:
        yield made


@pytest.fixture(scope="session")
def server(channel: grpc.Channel) -> Server:
    file = os.environ.get("CONFORMANCE_TOKEN_FILE", "")
    token = Path(file).expanduser().read_text().strip() if file else ""
    return Server(channel, (("authorization", f"Bearer {token}"),) if token else ())


@pytest.fixture(scope="session")
def metadata(server: Server) -> pb.ModelMetadataResponse:
    """Of the model that is called."""
    name = os.environ.get("CONFORMANCE_MODEL", "")
    if not name:
        index = server.RepositoryIndex(pb.RepositoryIndexRequest())
        if not index.models:
            pytest.skip("the server has no model; name one by CONFORMANCE_MODEL")
        name = index.models[0].name
    return server.ModelMetadata(pb.ModelMetadataRequest(name=name))
