"""`yard api`: any method of the gRPC contract, with JSON, found by reflection."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import exit_codes
from cli.errors import CommandError, UsageError
from cli.invocation import Invocation, command, new_command
from cli.output.render import show_document, to_document

if TYPE_CHECKING:
    from modelyard.client.connection import Connection

app = new_command()


@command(app)
async def api(
    yard: Invocation,
    method: Annotated[str, typer.Argument(help="For example TaskService/GetTask; none: list them")] = "",
    body: Annotated[str, typer.Argument(metavar="JSON", help="The request; - reads stdin")] = "{}",
) -> None:
    """Call any unary or server-streaming method with JSON: yard api TaskService/GetTask '{"taskId": "t-1"}'

    The protobuf JSON mapping both ways; a stream prints one JSON value a line.
    """
    from cli.reflection import Reflection

    async with yard.client() as client:
        connection = client.connection
        if not method:
            async for server in _servers(connection, Reflection):
                for line in await server.methods():
                    typer.echo(line)
            return
        server, found = await _find(_servers(connection, Reflection), method)
        if found.client_streaming:
            raise UsageError(f"{method} takes a stream; use the Python client or grpcurl")
        async for message in server.call(found, _parse(body)):
            if found.server_streaming:
                show_document("jsonl", to_document(message))
            else:
                show_document(
                    "json" if yard.output in ("table", "name") else yard.output, to_document(message)
                )


async def _servers(connection: Connection, make: Callable[[Any], Any]) -> AsyncIterator[Any]:
    """All that run, one after the other."""
    from modelyard.client.connection import ALWAYS, SERVICES

    for name in SERVICES:
        if name in ALWAYS or await connection.is_there(name):
            yield make(connection.service(name))


async def _find(servers: AsyncIterator[Any], method: str) -> tuple[Any, Any]:
    service, _, name = method.replace(".", "/").strip("/").rpartition("/")
    service = service.rpartition("/")[2]
    async for server in servers:
        found = await server.find(service, name)
        if found is not None:
            return server, found
    raise CommandError(f"there is no method {method}", code=exit_codes.NOT_FOUND, next_step="yard api")


def _parse(body: str) -> dict[str, Any]:
    text = sys.stdin.read() if body == "-" else body
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"the request is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise UsageError("the request must be a JSON object")
    return document
