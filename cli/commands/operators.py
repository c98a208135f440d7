"""`yard operators`: what the agents can do."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from cli.completion import complete_operators
from cli.invocation import Invocation, command, new_group
from cli.options.lists import PageSize, PageToken
from cli.output.render import show_list, show_one

app = new_group("Operators: what the agents can do.")


@command(app, "ls")
async def list_operators(
    yard: Invocation,
    page_size: PageSize = 200,
    page_token: PageToken = "",
) -> None:
    """List operators."""
    async with yard.client() as client:
        response = await client.operators.list(page_size=page_size, page_token=page_token)
    columns = (
        ("OPERATOR", lambda item: item.name),
        ("PARAMS", _params),
        ("NODES", lambda item: str(len(item.nodes))),
        ("SUMMARY", lambda item: item.summary),
    )
    show_list(
        yard.output,
        response,
        response.operators,
        columns,
        lambda item: item.name,
        empty="no operators: no node is connected; next: yard nodes ls",
    )


@command(app, "get")
async def get_operator(
    yard: Invocation,
    operator: Annotated[str, typer.Argument(help="Name", autocompletion=complete_operators)],
) -> None:
    """Show one operator: parameters, ports, where it is offered."""
    async with yard.client() as client:
        found = await client.operators.get(operator)
    fields = (
        ("operator", lambda item: item.name),
        ("version", lambda item: item.version),
        ("summary", lambda item: item.summary),
        ("params", lambda item: "\n".join(_schema_lines(item.params_schema_json))),
        ("inputs", lambda item: _ports(item.inputs)),
        ("outputs", lambda item: _ports(item.outputs)),
        ("nodes", lambda item: ", ".join(item.nodes)),
    )
    show_one(yard.output, found, fields, lambda item: item.name)


def _params(operator: Any) -> str:
    properties, required = _properties(operator.params_schema_json)
    return " ".join(name if name in required else f"[{name}]" for name in properties)


def _schema_lines(schema_json: str) -> list[str]:
    properties, required = _properties(schema_json)
    return [
        f"{name}: {schema.get('type', 'any')}"
        + ("" if name in required else f" = {json.dumps(schema.get('default'))}")
        + (f"  {schema['description']}" if schema.get("description") else "")
        for name, schema in properties.items()
    ]


def _properties(schema_json: str) -> tuple[dict[str, Any], list[str]]:
    schema = json.loads(schema_json or "{}")
    return schema.get("properties", {}), schema.get("required", [])


def _ports(ports: Any) -> str:
    return ", ".join(f"{port.name}: {port.type}{'' if port.required else '?'}" for port in ports)
