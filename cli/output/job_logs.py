"""What instances wrote, each line with the name of who wrote it: stdout to stdout, stderr to stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from cli.errors import colour_wanted

if TYPE_CHECKING:
    from modelyard.v1 import job_pb2

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_STDERR = 2


class PrefixedLines:
    """Writes chunks as lines. What is not whole yet is held back until it is, or until another instance writes."""

    def __init__(self, *, only_stderr: bool = False) -> None:
        self._only_stderr = only_stderr
        self._held: dict[tuple[str, int], bytes] = {}
        self._colours: dict[str, int] = {}

    def write(self, chunk: job_pb2.StreamJobLogsResponse) -> None:
        """Lines are never split between instances, and their bytes never changed."""
        name = f"{chunk.role}-{chunk.index}"
        key = (name, int(chunk.stream))
        # A progress bar begins its line anew by a carriage return: each state of it would be a line here.
        *whole, rest = (self._held.pop(key, b"") + chunk.data).split(b"\n")
        if rest:
            self._held[key] = rest
        self._lines(key, whole)

    def finish(self) -> None:
        """What is there is whole."""
        for key, rest in self._held.items():
            self._lines(key, [rest])
        self._held.clear()

    def _lines(self, key: tuple[str, int], lines: list[bytes]) -> None:
        stream = sys.stderr if key[1] == _STDERR or self._only_stderr else sys.stdout
        prefix = self._prefix(key[0], stream)
        stream.buffer.writelines(prefix + line.rstrip(b"\r").rpartition(b"\r")[2] + b"\n" for line in lines)
        stream.flush()

    def _prefix(self, name: str, stream: Any) -> bytes:
        if not colour_wanted(stream):
            return f"{name} | ".encode()
        colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
        return f"\x1b[{colour}m{name} |\x1b[0m ".encode()


class PlainBytes:
    """One instance: its bytes as they are."""

    def write(self, chunk: job_pb2.StreamJobLogsResponse) -> None:
        """To the stream that it was written to."""
        stream = sys.stderr if chunk.stream == _STDERR else sys.stdout
        stream.buffer.write(chunk.data)
        stream.flush()

    def finish(self) -> None:
        """Nothing is held back."""


class JsonLines:
    """A line of JSON for each chunk: role, index, epoch, stream, offset, text."""

    def write(self, chunk: job_pb2.StreamJobLogsResponse) -> None:
        """Bytes that are no UTF-8 are replaced in the text."""
        import json

        document = {
            "role": chunk.role, "index": chunk.index, "epoch": chunk.epoch,
            "stream": "stderr" if chunk.stream == _STDERR else "stdout", "offset": chunk.offset,
            "text": chunk.data.decode(errors="replace"),
        }  # fmt: skip
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def finish(self) -> None:
        """Nothing is held back."""
