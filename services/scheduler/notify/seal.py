"""Addresses and signing keys, encrypted for the database; the key lies in the state directory, not beside them."""

import os

_NONCE_BYTES = 12


class Seal:
    """AES-256-GCM; what is sealed for one contact cannot be opened for another."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def close(self, text: str, contact_id: str) -> bytes:
        """Encrypts."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self._key).encrypt(nonce, text.encode(), contact_id.encode())

    def open(self, sealed: bytes, contact_id: str) -> str:
        """Decrypts. Raises `SealBroken` where it was sealed with another key."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            opened = AESGCM(self._key).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], contact_id.encode()
            )
        except InvalidTag as error:
            raise SealBroken from error
        return opened.decode()


class SealBroken(Exception):
    """The key that this was sealed with is gone."""
