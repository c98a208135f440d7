"""The peers of a seat: where they are by now, for programs that read it, and at local addresses.

Owns `addresses.json`, which is whole at every moment, and the child that passes connections on, where the seat has one.
Runs on the main thread.
"""

import json
import os
from pathlib import Path

from modelyard.worker.forwards.forwards import Forwards
from modelyard.worker.frames import Message
from modelyard.worker.seats.ports import Leases

ADDRESSES_FILE = "addresses.json"


class Peers:
    """Of one seat. ``spared``: children that are no processes of the seat; the forwarding one is added to it."""

    def __init__(self, work: Message, leases: Leases, spared: set[int]) -> None:
        self._work = work
        self._leases = leases
        self._spared = spared
        self._revision = 0
        self._forwards: Forwards | None = None

    def open(self) -> None:
        """Makes local addresses possible, where they are wanted. Raises OSError."""
        if self._work.get("forward"):
            env = {name: value for name, value in self._work.get("env", {}).items() if name == "YARD_SEAT"}
            self._forwards = Forwards(self._leases.lease_forward(), env)
            self._spared.add(self._forwards.pid)

    @property
    def pidfds(self) -> tuple[int, ...]:
        """Readable when what forwards has ended."""
        return (self._forwards.pidfd,) if self._forwards is not None and self._forwards.pid else ()

    @property
    def forward_port(self) -> int:
        """At which local addresses are; 0: there are none."""
        return self._forwards.port if self._forwards is not None else 0

    def follow(self, published: Message) -> None:
        """A PublishAddresses; one that is out of date changes nothing. Raises OSError."""
        revision = int(published.get("revision", 0))
        if revision < self._revision:
            return
        self._revision = revision
        path = Path(self._work["log_directory"], ADDRESSES_FILE)
        draft = path.with_name("addresses.new")
        draft.write_text(json.dumps(published), encoding="utf-8")
        draft.rename(path)
        if self._forwards is not None:
            self._forwards.follow(published.get("addresses", []))
            self._spared.add(self._forwards.pid)

    def on_ended(self) -> None:
        """What forwards has died: another one takes its place."""
        assert self._forwards is not None
        self._spared.discard(self._forwards.pid)
        try:
            self._forwards.on_ended()
        except OSError as error:
            os.write(2, f"{self._work.get('role', '')}: local addresses: {error}\n".encode())
        if self._forwards.pid:
            self._spared.add(self._forwards.pid)

    def close(self) -> None:
        """Local addresses end."""
        if self._forwards is not None:
            self._forwards.close()
