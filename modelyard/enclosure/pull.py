"""An image on its way from its registry to this machine: what has come, how long nothing did, and why it does not.

Owns one pull. Whether one is needed is `image`'s. Blocks; `cancel` may be called by another thread.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping

from modelyard.enclosure.engine import Engine, EngineFailed
from modelyard.enclosure.registries import CredentialsUnreadable, header, registry_of
from modelyard.quantities import format_size

SILENT_S = 120.0
"""A registry that says nothing for so long is given up. What is unpacked, however slowly, is told of meanwhile."""
TOLD_S = 1.0
_READ_BYTES = 65_536
_GET, _UNPACK = "Downloading", "Extracting"


class PullFailed(Exception):
    """It cannot be had from there."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


class PullCancelled(Exception):
    """Nobody wants it any more."""


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
        self._is_cancelled = False

    def run(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Until it is here. ``tell`` hears about once a second how much of it is. Raises PullFailed, PullCancelled."""
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
            message = (
                f"{registry_of(self._image)}, or the engine, has said nothing for {self._silent_s:.0f} s"
            )
            raise PullFailed(message, _reach(self._image)) from error
        except (EngineFailed, OSError) as error:
            if self._is_cancelled:
                raise PullCancelled from error
            raise PullFailed(str(error), _next_step(str(error), self._image, is_known=is_known)) from error
        finally:
            if self._socket is not None:
                self._socket.close()
        if self._is_cancelled:
            raise PullCancelled

    def cancel(self) -> None:
        """`run` ends soon, and the engine stops fetching unless somebody else wants it too."""
        with self._lock:
            self._is_cancelled = True
            if self._socket is not None:
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    # It has hung up by itself.
                    return

    def _opened(self, auth: str) -> socket.socket:
        with self._lock:
            if self._is_cancelled:
                raise PullCancelled
            self._socket = self._engine.pulling(self._image, auth, self._silent_s)
        self._engine.answered(self._socket)
        return self._socket

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
            raise EngineFailed(str(error))
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


def _reach(image: str) -> str:
    return (
        f"see that the node reaches {registry_of(image)}, or bring the image there: docker pull, docker load"
    )


def _next_step(why: str, image: str, *, is_known: bool) -> str:
    """What is to be done depends on what registries, and the engine, say in which words."""
    lower, registry = why.lower(), registry_of(image)
    if any(word in lower for word in ("unauthorized", "denied", "authentication required", "basic auth")):
        login = f"docker login {registry if registry != 'docker.io' else ''}".strip()
        who = "as who the agent runs there"
        if is_known:
            return f"what this node shows the registry is not accepted: {login} on the node, {who}, or another image"
        return f"if it needs a password: {login} on the node, {who}; or see whether the name is right"
    if "invalid reference" in lower:
        return "write it as for docker pull: NAME:TAG, or NAME@sha256:…, in small letters"
    if any(word in lower for word in ("manifest unknown", "not found", "manifest for", "name unknown")):
        return "name a tag that its registry has, or bring the image to the node: docker load"
    return _reach(image)
