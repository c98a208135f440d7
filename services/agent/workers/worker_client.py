"""The agent's end of one worker's socket.

Owns one connection and the bundling of what is sent within one turn of the loop. Keeps no state of the
work: the first frame of a connection is the worker's inventory.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from services.agent.workers.sockets import FrameProtocol, Message, connect


class WorkerClient:
    """A connection to a worker. Frames are dictionaries as ``worker.proto`` has them: ``on_frame`` gets
    WorkerResponse frames, the inventory first; ``on_lost`` comes once, when the connection is gone."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._protocol: FrameProtocol | None = None
        self._outgoing: Message = {}

    @classmethod
    async def connect(
        cls, socket_path: str, on_frame: Callable[[Message], None], on_lost: Callable[[], None]
    ) -> Self:
        """Connects; the worker drops its former connection, if it had one. Raises OSError."""
        client = cls()
        client._protocol = await connect(socket_path, on_frame, on_lost)
        return client

    @property
    def is_open(self) -> bool:
        return self._protocol is not None and self._protocol.is_open

    def send(
        self,
        *,
        run: Iterable[Message] = (),
        cancel: Sequence[Message] = (),
        ack: Sequence[str] = (),
        modify: Sequence[Message] = (),
        fence: Sequence[Message] = (),
        seats: Sequence[Message] = (),
        quit: bool = False,
    ) -> None:
        """Sends with whatever else is sent in this turn of the loop, as one frame. A worker takes a frame
        in the order ack, run, modify, seats, fence, cancel, quit; running what it already has is harmless.

        What is sent on a lost connection is lost; the next inventory tells.
        """
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        for name, items in (
            ("run", run),
            ("cancel", cancel),
            ("ack", ack),
            ("modify", modify),
            ("fence", fence),
            ("seats", seats),
        ):
            if items:
                self._outgoing.setdefault(name, []).extend(items)
        if quit:
            self._outgoing["quit"] = True

    def close(self) -> None:
        """Ends the connection after what was sent; the worker goes on."""
        self._flush()
        if self._protocol is not None:
            self._protocol.close()

    def _flush(self) -> None:
        message, self._outgoing = self._outgoing, {}
        if message and self._protocol is not None:
            self._protocol.send(message)
