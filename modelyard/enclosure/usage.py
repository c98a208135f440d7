"""What a container has used, as its engine tells it about once a second.

Owns the connection on which that is told. What ends within the first second has used what was seen by then, or nothing.
"""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Mapping
from typing import Any

from modelyard.enclosure.watching import Watch

_READ_BYTES, _UNREAD_MOST = 65_536, 1 << 20


class Usage:
    """Of one container."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._watch: Watch | None = None
        self._unread = b""
        self._cpu_time_s = 0.0
        self._memory_peak_bytes = 0

    def follow(self, stats: socket.socket, watch: Watch) -> None:
        """From now on."""
        stats.setblocking(False)
        self._socket, self._watch = stats, watch
        watch(stats.fileno(), select.EPOLLIN, self._on_data)

    def fields(self) -> dict[str, Any]:
        """As a report of work has them."""
        return {"cpu_time_s": round(self._cpu_time_s, 6), "memory_peak_bytes": self._memory_peak_bytes}

    def close(self) -> None:
        """Nothing more is heard."""
        if self._socket is not None and self._watch is not None:
            self._watch(self._socket.fileno(), 0, None)
            self._socket.close()
            self._socket = None

    def _on_data(self, fd: int) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        *lines, self._unread = (self._unread + data)[-_UNREAD_MOST:].split(b"\n")
        for line in lines:
            if line.startswith(b"{"):
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return
        memory: Mapping[str, Any] = said.get("memory_stats") or {}
        peak = max(int(memory.get("max_usage") or 0), int(memory.get("usage") or 0))
        self._memory_peak_bytes = max(self._memory_peak_bytes, peak)
        used = (said.get("cpu_stats") or {}).get("cpu_usage") or {}
        self._cpu_time_s = max(self._cpu_time_s, int(used.get("total_usage") or 0) / 1e9)
