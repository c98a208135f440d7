"""Results in the format that was asked for: table, json, jsonl, yaml or name.

JSON is one value with the field names of the protobuf JSON mapping. Owns no wording of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from cli.output.table import write_fields, write_table

if TYPE_CHECKING:
    from google.protobuf.message import Message

FORMATS = ("table", "json", "jsonl", "yaml", "name")

ItemT = TypeVar("ItemT", bound="Message")
Columns = Sequence[tuple[str, Callable[[Any], str]]]


def show_list(
    output: str,
    response: Message,
    items: Sequence[ItemT],
    columns: Columns,
    name: Callable[[ItemT], str],
    *,
    empty: str = "",
) -> None:
    """A list: `response` is what JSON shows, `items` are the rows. `empty` goes to stderr under a table."""
    if output == "table":
        if items:
            write_table(
                [title for title, _ in columns], [[cell(item) for _, cell in columns] for item in items]
            )
        elif empty:
            sys.stderr.write(empty + "\n")
        token = getattr(response, "next_page_token", "")
        if token:
            sys.stderr.write(f"there is more: --page-token {token}\n")
    elif output == "name":
        _write("".join(name(item) + "\n" for item in items))
    elif output == "jsonl":
        _write("".join(_compact(to_document(item)) + "\n" for item in items))
    else:
        show_document(output, to_document(response))


def show_one(output: str, item: ItemT, fields: Columns, name: Callable[[ItemT], str]) -> None:
    """One thing: its fields below each other, or the whole message."""
    if output == "table":
        write_fields([(title, cell(item)) for title, cell in fields])
    elif output == "name":
        _write(name(item) + "\n")
    else:
        show_document(output, to_document(item))


def show_document(output: str, document: Any) -> None:
    """A plain value as JSON or YAML; json on a terminal is indented."""
    if output == "yaml":
        import yaml

        _write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    elif output == "json" and sys.stdout.isatty():
        _write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    else:
        _write(_compact(document) + "\n")


def to_document(message: Message) -> Any:
    """The protobuf JSON mapping, with empty lists and zero values left in where a reader would miss them."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message)


def _compact(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
