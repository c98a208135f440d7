"""The certificate of a yard's authority, fetched from the yard itself and believed for its hash alone.

Owns the one connection that trusts nobody; nothing secret goes over it.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from typing import Any

from services.chassis.errors import StartRefused

TIMEOUT_S = 10.0


class AuthorityMismatch(StartRefused):
    """The certificate of the authority is not the one that was announced."""


def fetch_authority(address: str, announced: str) -> bytes:
    """The certificate (PEM) with the announced sha256, out of the chain that the server shows. Blocks.

    Raises AuthorityMismatch if no certificate has this hash, OSError if the server cannot be reached.
    """
    for certificate in _unverified_chain(address):
        if hashlib.sha256(certificate).hexdigest() == announced:
            return ssl.DER_cert_to_PEM_cert(certificate).encode()
    raise AuthorityMismatch(
        f"{address} does not show the authority that the join token names; the token was not sent:"
        " somebody may be in between, or it belongs to another yard; get a new join line with yard nodes token"
    )


def check_authority(pem: bytes, announced: str) -> None:
    """Raises AuthorityMismatch unless the certificate has the announced sha256, ValueError unless it is one."""
    found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest()
    if announced and found != announced:
        raise AuthorityMismatch(
            f"the authority's certificate has the hash {found}, not the announced one;"
            " somebody may be in between: get a new join line with yard nodes token"
        )


def _unverified_chain(address: str) -> list[bytes]:
    """DER of each certificate that the server shows; nobody has checked them."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        public: Any = getattr(secure, "get_unverified_chain", None)
        if public is not None:
            return list(public())
        # Public since Python 3.13, before that only on the inner object.
        inner: Any = secure._sslobj  # type: ignore[attr-defined]
        return [certificate.public_bytes(2) for certificate in inner.get_unverified_chain() or ()]
