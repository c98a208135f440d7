"""An image on its way from its registry to this machine: what has come, how long nothing did, and why it does not.

Owns one pull, and how long a registry that is away is waited for. Whether a pull is needed is `image`'s, and whether a
registry's answer is definite `refusals`'. Blocks; `cancel` may be called by another thread.
"""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelyard.enclosure.engine import Engine, EngineFailed
from modelyard.enclosure.refusals import next_step, passing, reach
from modelyard.enclosure.registries import CredentialsUnreadable, header, registry_of
from modelyard.quantities import format_size

SILENT_S = 120.0
"""A registry that says nothing for so long is given up. What is unpacked, however slowly, is told of meanwhile."""
TOLD_S = 1.0
_READ_BYTES, _OK = 65_536, 200
_GET, _UNPACK = "Downloading", "Extracting"


class PullFailed(Exception):
    """It cannot be had from there."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


class PullCancelled(Exception):
    """Nobody wants it any more."""


class RegistryAway(Exception):
    """It does not answer now, or not to this; the message says in which way."""


@dataclass(frozen=True)
class Patience:
    """With a registry that is away: another try after each of these pauses, which chance shortens to the half at most,
    so that the nodes of a yard do not all come back at once."""

    pauses_s: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0, 30.0)
    chance: Callable[[], float] = random.random
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait


PATIENT, HASTY = Patience(), Patience(())


class Pull:
    """Of one image."""

    def __init__(
        self, engine: Engine, image: str, environ: Mapping[str, str], silent_s: float = SILENT_S
    ) -> None:
        self._engine = engine
        self._image = image
        self._environ = environ
        self._silent_s = silent_s
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cancelled = threading.Event()

    def run(self, tell: Callable[[str], None] = lambda _: None, patience: Patience = PATIENT) -> None:
        """Until it is here. ``tell`` hears about once a second how much of it is, and when a registry that is away is
        tried again. Raises PullFailed, PullCancelled."""
        tries = len(patience.pauses_s) + 1
        for number, pause_s in enumerate(patience.pauses_s, 2):
            try:
                self._try(tell)
                return
            except RegistryAway as away:
                pause_s *= 0.5 + patience.chance() / 2
                again = f"try {number} of {tries} in {pause_s:.0f} s"
                tell(f"its registry {registry_of(self._image)} is away ({away}); {again}")
            if patience.wait(self._cancelled, pause_s):
                raise PullCancelled
        try:
            self._try(tell)
        except RegistryAway as away:
            times = f" (tried {tries} times)" if tries > 1 else ""
            raise PullFailed(f"{away.__cause__}{times}", reach(self._image)) from away

    def cancel(self) -> None:
        """`run` ends soon, and the engine stops fetching unless somebody else wants it too."""
        with self._lock:
            self._cancelled.set()
            if self._socket is not None:
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    # It has hung up by itself.
                    return

    def _try(self, tell: Callable[[str], None]) -> None:
        """Raises RegistryAway, PullFailed, PullCancelled."""
        is_known = False
        try:
            auth = header(self._image, self._environ)
            is_known = bool(auth)
            tell("")
            self._follow(self._opened(auth), tell)
        except CredentialsUnreadable as error:
            message = (
                f"what this node may show the registry {registry_of(self._image)} cannot be read: {error}"
            )
            raise PullFailed(message, "mend that on the node, or log in anew there: docker login") from error
        except TimeoutError as error:
            # Longer than any patience there is.
            message = (
                f"{registry_of(self._image)}, or the engine, has said nothing for {self._silent_s:.0f} s"
            )
            raise PullFailed(message, reach(self._image)) from error
        except (EngineFailed, OSError) as error:
            if self._cancelled.is_set():
                raise PullCancelled from error
            # An engine that is gone itself has said nothing of registries.
            if isinstance(error, EngineFailed) and error.status and (way := passing(str(error))):
                raise RegistryAway(way) from error
            raise PullFailed(str(error), next_step(str(error), self._image, is_known=is_known)) from error
        finally:
            self._hang_up()
        if self._cancelled.is_set():
            raise PullCancelled

    def _opened(self, auth: str) -> socket.socket:
        with self._lock:
            if self._cancelled.is_set():
                raise PullCancelled
            self._socket = self._engine.pulling(self._image, auth, self._silent_s)
        self._engine.answered(self._socket)
        return self._socket

    def _hang_up(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _follow(self, sock: socket.socket, tell: Callable[[str], None]) -> None:
        amounts, unread, told = _Amounts(), b"", time.monotonic()
        while piece := sock.recv(_READ_BYTES):
            *lines, unread = (unread + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    amounts.take(json.loads(line))
            if time.monotonic() >= told + TOLD_S:
                told = time.monotonic()
                tell(amounts.words())


class _Amounts:
    """Of the layers of which sizes are known."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}
        self._is_unpacked = False

    def take(self, said: Mapping[str, object]) -> None:
        """A line of the engine. Raises EngineFailed."""
        if error := said.get("error"):
            # The answer has begun well.
            raise EngineFailed(str(error), _OK)
        layer, detail = str(said.get("id", "")), said.get("progressDetail")
        status = str(said.get("status", ""))
        if status == _GET and isinstance(detail, dict):
            self._layers[layer] = (int(detail.get("current", 0)), int(detail.get("total", 0)))
        elif layer in self._layers and not status.startswith(_GET):
            total = self._layers[layer][1]
            self._layers[layer] = (total, total)
        self._is_unpacked = status == _UNPACK

    def words(self) -> str:
        done, total = (sum(amounts[part] for amounts in self._layers.values()) for part in (0, 1))
        if not total:
            return ""
        if done >= total and self._is_unpacked:
            return f"{format_size(total)} are here and being unpacked"
        return f"{format_size(done)} of {format_size(total)}"
