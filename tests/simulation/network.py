"""The network between agents and the scheduler: ordered streams that may stall, lose what is in flight and break.

Owns delays, cuts and when each end notices. Like TCP, a stream delivers in order and without gaps for as long as
it lasts; during a cut what was sent waits, and goes on when the cut heals in time.
"""

from __future__ import annotations

from typing import Any, Protocol

from tests.simulation.kernel import MS, SECOND, Kernel

UP, DOWN = "up", "down"
_CLOSED = object()


class End(Protocol):
    """One end of a stream."""

    def on_message(self, stream: Stream, message: Any) -> None: ...
    def on_closed(self, stream: Stream) -> None: ...


class Wire:
    """One direction of a stream."""

    def __init__(self, direction: str, receiver: End) -> None:
        self.direction = direction
        self.receiver = receiver
        self.is_attached = True
        self.last_us = 0
        self.stuck: list[Any] = []
        # Messages in flight are dropped when their stream was reset.
        self.reset = 0


class Stream:
    """One Connect call. ``up`` is read by the scheduler, ``down`` by the agent."""

    def __init__(self, network: Network, node: str, number: int, agent: End, scheduler: End) -> None:
        self.network = network
        self.node = node
        self.number = number
        self.wires = {UP: Wire(UP, scheduler), DOWN: Wire(DOWN, agent)}

    def send(self, direction: str, message: Any) -> None:
        """Sends to the other end; nothing happens on a stream that the sender has closed."""
        wire = self.wires[direction]
        if self.wires[_other(direction)].is_attached:
            self.network.carry(self, wire, message)

    def close(self, reading: str, *, is_reset: bool = False) -> None:
        """The end that reads ``reading`` is gone; a reset destroys what it sent and was still under way."""
        if not self.wires[reading].is_attached:
            return
        self.wires[reading].is_attached = False
        wire = self.wires[_other(reading)]
        if is_reset:
            wire.reset += 1
            wire.stuck.clear()
        self.network.carry(self, wire, _CLOSED)
        if not wire.is_attached:
            self.network.streams.pop(self.number, None)

    def break_at(self, reading: str) -> None:
        """One end finds the stream broken."""
        wire = self.wires[reading]
        if wire.is_attached:
            self.network.kernel.trace("network", "broken", self.node, self.number, reading)
            self.close(reading, is_reset=True)
            wire.receiver.on_closed(self)


class Network:
    """All streams and cuts."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.streams: dict[int, Stream] = {}
        self.cuts: dict[str, set[str]] = {}
        self.least_us = 100
        self.most_us = 3 * MS
        self._number = 0
        self._cut_number: dict[str, int] = {}

    def connect(self, node: str, agent: End, scheduler: End) -> Stream:
        """A new stream; the caller has waited for the handshake."""
        self._number += 1
        stream = self.streams[self._number] = Stream(self, node, self._number, agent, scheduler)
        return stream

    def is_cut(self, node: str) -> bool:
        return bool(self.cuts.get(node))

    def delay_us(self) -> int:
        return self.kernel.between(self.least_us, self.most_us)

    def carry(self, stream: Stream, wire: Wire, message: Any) -> None:
        arrival_us = max(self.kernel.now_us + self.delay_us(), wire.last_us)
        wire.last_us = arrival_us
        self.kernel.after(arrival_us - self.kernel.now_us, self._arrive, stream, wire, message, wire.reset)

    def _arrive(self, stream: Stream, wire: Wire, message: Any, reset: int) -> None:
        if message is not _CLOSED and reset != wire.reset:
            return
        if wire.direction in self.cuts.get(stream.node, ()) or wire.stuck:
            wire.stuck.append(message)
        else:
            self._deliver(stream, wire, message)

    def _deliver(self, stream: Stream, wire: Wire, message: Any) -> None:
        if not wire.is_attached:
            return
        if message is _CLOSED:
            stream.close(wire.direction)
            wire.receiver.on_closed(stream)
        else:
            wire.receiver.on_message(stream, message)

    def cut(self, node: str, directions: set[str]) -> None:
        """Nothing passes any more; each end notices by its keepalive, if the cut lasts."""
        self.kernel.trace("network", "cut", node, *sorted(directions))
        self.cuts[node] = directions
        number = self._cut_number[node] = self._cut_number.get(node, 0) + 1
        for stream in list(self.streams.values()):
            if stream.node == node:
                for reading in (UP, DOWN):
                    patience_us = self.kernel.between(2 * SECOND, 40 * SECOND)
                    self.kernel.after(patience_us, self._lose_patience, stream, reading, node, number)

    def _lose_patience(self, stream: Stream, reading: str, node: str, number: int) -> None:
        if self.cuts.get(node) and self._cut_number[node] == number:
            stream.break_at(reading)

    def heal(self, node: str) -> None:
        """What waits goes on its way."""
        if not self.cuts.pop(node, None):
            return
        self.kernel.trace("network", "healed", node)
        for stream in list(self.streams.values()):
            if stream.node == node:
                for wire in stream.wires.values():
                    self.kernel.after(self.delay_us(), self._unstick, stream, wire)

    def _unstick(self, stream: Stream, wire: Wire) -> None:
        """What comes later queues up behind what waits, so that the order stays."""
        if wire.direction in self.cuts.get(stream.node, ()):
            return
        stuck, wire.stuck = wire.stuck, []
        for message in stuck:
            self._deliver(stream, wire, message)

    def break_streams(self, node: str) -> None:
        """A middle box forgets the node's streams: each end learns it at a time of its own."""
        for stream in list(self.streams.values()):
            if stream.node == node:
                for reading in (UP, DOWN):
                    self.kernel.after(self.kernel.between(0, 5 * SECOND), stream.break_at, reading)


def _other(direction: str) -> str:
    return DOWN if direction == UP else UP
