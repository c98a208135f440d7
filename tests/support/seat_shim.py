"""A blocking stand-in for the agent of one seat: orders for a real shim, and what it tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.frames import Message, Peer

KEY = "t-1/1/1/1"


class Shim:
    """The agent's end of a seat. ``place`` is a directory of the test's own."""

    def __init__(self, peer: Peer, place: Path, key: str = KEY) -> None:
        self.peer = peer
        self.place = place
        self.key = key
        self.log = place / key.replace("/", "-")
        self.work = self.log / "work"
        self.seat: Message = {}
        self.events: list[Message] = []
        self.numbers: list[int] = []
        self._seen = 0

    def open(self, *ports: Message | str, **more: Any) -> Message:
        """Opens the seat and waits for it."""
        self.ask_open(*ports, **more)
        return self.until_state("OPEN")

    def ask_open(self, *ports: Message | str, **more: Any) -> None:
        self.log.mkdir(exist_ok=True)
        seat = {
            "job_id": "j-1",
            "role": "worker",
            "index": 2,
            "ports": [{"name": port} if isinstance(port, str) else port for port in ports],
            "directory": str(self.work),
            "log_directory": str(self.log),
            "record_path": str(self.place / "w.records"),
            "lease_path": str(self.place / "ports"),
            **more,
        }
        self.peer.send(run=[{"key": self.key, "seat": seat}])

    def order(self, number: int = 0, **order: Any) -> None:
        self.peer.send(seats=[{"key": self.key, "number": number, **order}])

    def launch(self, epoch: int, *scripts: str, number: int = 0, **more: Any) -> None:
        """Starts a shell for each script."""
        processes = [{"argv": ["sh", "-c", script]} for script in scripts]
        self.order(number, launch={"epoch": epoch, "processes": processes, **more})

    def run(self, epoch: int, *scripts: str, **more: Any) -> Message:
        """Launches, and waits for the end: the InstanceExit."""
        self.launch(epoch, *scripts, **more)
        return self.until_state("ENDED", epoch)["exit"]

    def close(self, **more: Any) -> Message:
        """Closes the seat: the report of the work."""
        self.order(close=more)
        return self.peer.until("ended", self.key)

    def until_state(self, state: str, epoch: int = 0) -> Message:
        def is_there(event: Message) -> bool:
            seat = event.get("seat", {})
            return seat.get("state") == f"SEAT_STATE_{state}" and seat["epoch"] >= epoch

        return self.until(is_there)["seat"]

    def until(self, condition: Callable[[Message], bool]) -> Message:
        """The first event of that kind, told before or to come."""
        seen = 0
        while True:
            self._take()
            for event in self.events[seen:]:
                if condition(event):
                    return event
            seen = len(self.events)
            assert self.peer.receive(), f"closed; told: {self.events}"

    def until_told(self, kind: str) -> Message:
        """The first event of a kind."""
        return self.until(lambda event: kind in event)[kind]

    def _take(self) -> None:
        for frame in self.peer.frames[self._seen :]:
            reports = [*frame.get("seats", ()), *frame.get("inventory", {}).get("seats", ())]
            for report in reports:
                if report["key"] == self.key:
                    self.events.append(report["event"])
                    self.numbers.append(report.get("number", 0))
        self._seen = len(self.peer.frames)
