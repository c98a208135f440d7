"""What is sent to the store, shown where somebody waits for it: a bar for each large file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.output.progress import Progress
from modelyard.quantities import format_size

if TYPE_CHECKING:
    from modelyard.client.aio import Client

SHOWN_BYTES = 16 << 20
"""Smaller files are there before a bar can be read."""


@contextmanager
def showing_uploads(client: Client) -> Iterator[None]:
    """Shows uploads of the client while it is open; on a terminal only."""
    bars: dict[str, Progress] = {}

    def show(name: str, sent_bytes: int, size_bytes: int) -> None:
        if size_bytes >= SHOWN_BYTES:
            bar = bars.setdefault(name, Progress(f"sending {name}"))
            bar.update(sent_bytes / size_bytes, f"{format_size(sent_bytes)} of {format_size(size_bytes)}")
            if sent_bytes == size_bytes:
                bar.clear()

    client.artifacts.on_upload = show if sys.stderr.isatty() else None
    try:
        yield
    finally:
        client.artifacts.on_upload = None
        for bar in bars.values():
            bar.clear()
