"""What a package's function may look at to judge readiness: ports and pages, from the trainer's machine."""

from __future__ import annotations

import asyncio

LOOK_S = 1.0


class LookingProbe:
    """`modelyard.training.policies.readiness.Probe`."""

    async def connects(self, host: str, port: int) -> bool:
        """Whether something takes connections there, within a second."""
        try:
            async with asyncio.timeout(LOOK_S):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    async def status(self, host: str, port: int, path: str = "/") -> int:
        """Of GET by HTTP, within a second; 0: there was no answer."""
        request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        try:
            async with asyncio.timeout(LOOK_S):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    writer.write(request.encode())
                    words = (await reader.readline()).split()
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError):
            return 0
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
