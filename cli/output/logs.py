"""What tasks wrote, byte for byte: stdout to stdout, stderr to stderr."""

from __future__ import annotations

import sys
from typing import BinaryIO

from modelyard.v1 import task_pb2


class LogWriter:
    """Writes chunks as they come; marks where a further attempt begins."""

    def __init__(self, *, json_on_stdout: bool = False) -> None:
        self._attempt = 0
        self._stdout = sys.stderr if json_on_stdout else sys.stdout

    def write(self, chunk: task_pb2.StreamLogsResponse) -> None:
        """Bytes are never decoded, reordered within a stream, or held back."""
        if self._attempt and chunk.attempt != self._attempt:
            sys.stderr.write(f"--- attempt {chunk.attempt} ---\n")
            sys.stderr.flush()
        self._attempt = chunk.attempt
        stream = sys.stderr if chunk.stream == task_pb2.LOG_STREAM_STDERR else self._stdout
        _write(stream.buffer, chunk.data)


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)
    stream.flush()
