"""Secrets of webhooks as they lie in the database: encrypted under a key of the yard, bound to their trigger."""

from __future__ import annotations

import os

_NONCE_BYTES = 12


class Sealing:
    """`key`: 256 bits that lie in the state directory, not in the database."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, secret: str, account: str, name: str) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self._key).encrypt(nonce, secret.encode(), _bound_to(account, name))

    def open(self, sealed: bytes, account: str, name: str) -> str | None:
        """None: it was sealed under another key, for example on another yard, so that it has to be rotated."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return AESGCM(self._key).decrypt(nonce, rest, _bound_to(account, name)).decode()
        except InvalidTag:
            return None


def _bound_to(account: str, name: str) -> bytes:
    return f"trigger\0{account}\0{name}".encode()
