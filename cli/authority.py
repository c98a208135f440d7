"""The certificate authority of a remote yard, fetched once and pinned by the hash in the join line."""

from __future__ import annotations

import hashlib
import socket
import ssl
from pathlib import Path
from typing import Any

from cli import exit_codes
from cli.errors import CommandError
from cli.supervisor.files import write_atomically

TIMEOUT_S = 10.0


def fetch_authority(endpoint: str, ca_hash: str, path: Path) -> Path:
    """Saves the certificate whose sha256 is `ca_hash` out of the chain that the yard shows.

    Nothing is trusted but the hash. Raises CommandError if the yard cannot be reached or shows another one.
    """
    for certificate in _chain(endpoint):
        if hashlib.sha256(certificate).hexdigest() == ca_hash:
            write_atomically(path, ssl.DER_cert_to_PEM_cert(certificate), 0o644)
            return path
    raise CommandError(
        f"{endpoint} does not show the authority that the join line names",
        code=exit_codes.NOT_ALLOWED,
        why="somebody may stand in between, or the line belongs to another yard",
        next_step="copy tls/ca.pem of the yard's state directory here and add --ca-file",
    )


def _chain(endpoint: str) -> list[bytes]:
    host, _, port = endpoint.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host.strip("[]")) as secure,
        ):
            return _unverified_chain(secure)
    except OSError as error:
        raise CommandError(
            f"{endpoint} cannot be reached: {error.strerror or error}", code=exit_codes.UNREACHABLE
        ) from error


def _unverified_chain(secure: ssl.SSLSocket) -> list[bytes]:
    """DER of each certificate. Public since Python 3.13, before that only on the inner object."""
    public: Any = getattr(secure, "get_unverified_chain", None)
    if public is not None:
        return list(public())
    inner: Any = secure._sslobj  # type: ignore[attr-defined]
    return [certificate.public_bytes(2) for certificate in inner.get_unverified_chain() or ()]
