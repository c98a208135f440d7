"""grpcurl works on every service: `grpcurl -plaintext -H "authorization: Bearer …"`. # S0"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from modelyard.v1 import account_pb2, account_pb2_grpc
from services.chassis import security
from services.chassis.rpc.server import add_health_and_reflection, bind, make_server
from services.chassis.security import USER, VIEWER
from tests.support import grpcurl as grpcurl_binary
from tests.support.echo_service import USER_TOKEN, FewTokens

NAME = "modelyard.v1.AccountService"
RULES = {f"/{NAME}/GetIdentity": frozenset({USER}), f"/{NAME}/ListAccounts": frozenset({VIEWER})}
BEARER = ("-H", f"authorization: Bearer {USER_TOKEN}")


class Accounts(account_pb2_grpc.AccountServiceServicer):
    """Says who calls."""

    async def GetIdentity(self, request: account_pb2.GetIdentityRequest, context: Any) -> Any:
        identity = account_pb2.Identity(account=security.principal().account)
        return account_pb2.GetIdentityResponse(identity=identity)


@pytest.fixture
def program() -> str:
    return grpcurl_binary.program()


@pytest_asyncio.fixture
async def address() -> AsyncIterator[str]:
    server = make_server(FewTokens(), RULES)
    account_pb2_grpc.add_AccountServiceServicer_to_server(Accounts(), server)
    await add_health_and_reflection(server, [NAME])
    port = bind(server, "127.0.0.1", 0)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def run(*command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.asyncio
async def test_grpcurl_with_token_lists_describes_and_calls(program: str, address: str) -> None:
    code, listed = await run(program, "-plaintext", *BEARER, address, "list")
    assert code == 0, listed
    assert NAME in listed
    code, answer = await run(program, "-plaintext", *BEARER, address, f"{NAME}/GetIdentity")
    assert code == 0, answer
    assert '"account": "alice"' in answer


@pytest.mark.asyncio
async def test_grpcurl_shows_the_details_of_a_refusal(program: str, address: str) -> None:
    code, answer = await run(program, "-plaintext", *BEARER, address, f"{NAME}/ListAccounts")
    assert code != 0
    assert "PermissionDenied" in answer
    assert "ROLE_NOT_ALLOWED" in answer


@pytest.mark.asyncio
async def test_grpcurl_without_token_sees_nothing(program: str, address: str) -> None:
    code, answer = await run(program, "-plaintext", address, "list")
    assert code != 0
    assert NAME not in answer
