"""How a service reaches the others of its yard: with its service token, over its authority where there is TLS.

Owns the channels that it has opened, and the keys that only this yard has.
"""

import hashlib
from pathlib import Path

import grpc.aio

from modelyard.channel import connect
from services.chassis.security import ensure_secret


def authority_file(state_dir: Path, *, is_tls: bool) -> Path | None:
    """Whom to believe; None: nothing is encrypted."""
    return state_dir / "tls" / "ca.pem" if is_tls else None


def yard_key(state_dir: Path, name: str) -> bytes:
    """256 bits that are this yard's, made by whoever asks first. Raises StartRefused leaves."""
    secret = ensure_secret(state_dir / "secrets" / name, "key")
    return hashlib.sha256(secret.encode()).digest()


class Outward:
    """Made when a service opens; raises StartRefused leaves where the token cannot be read."""

    def __init__(self, state_dir: Path, *, is_tls: bool) -> None:
        self._token = ensure_secret(state_dir / "secrets" / "service.token", "service")
        self._authority = authority_file(state_dir, is_tls=is_tls)
        self._channels: list[grpc.aio.Channel] = []

    def connect(self, address: str, *, is_apart: bool = False) -> grpc.aio.Channel:
        """A channel with the service token; `is_apart`: over a connection that it shares with no other."""
        channel = connect(address, token=self._token, ca_file=self._authority, is_apart=is_apart)
        self._channels.append(channel)
        return channel

    async def close(self) -> None:
        """Closes every channel."""
        while self._channels:
            await self._channels.pop().close()
