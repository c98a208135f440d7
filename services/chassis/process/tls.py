"""The yard's own certificate authority.

Owns making keys and certificates, and their files; imports cryptography, which nothing else does,
and is itself imported only when TLS is on. Knows no transport.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import ipaddress
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from modelyard.sealing import node_uri
from services.chassis.errors import InvalidArgument, StartRefused
from services.chassis.process.state_dir import write_atomically
from services.chassis.rpc.server import TlsFiles

AUTHORITY_TTL = datetime.timedelta(days=3650)
SERVER_TTL = datetime.timedelta(days=90)
NODE_TTL = datetime.timedelta(hours=24)
_NODE_USAGES = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
_RENEW_BEFORE = datetime.timedelta(days=30)
# Machines' clocks differ a little.
_CLOCK_SKEW = datetime.timedelta(minutes=5)


class SigningRequestInvalid(InvalidArgument):
    """The certificate signing request cannot be read or is not signed by its own key."""


class AuthorityBroken(StartRefused):
    """The yard's certificate authority cannot be used."""


class Authority:
    """The key that signs, with its certificate."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self.certificate = certificate

    @property
    def pem(self) -> bytes:
        """The certificate that clients pin."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key; only ever written to a 0600 file."""
        return _key_pem(self._key)

    def signed(self, certificate: x509.Certificate) -> bool:
        """Whether `certificate` is of this authority, not of one with the same name."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def sign(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        names: Iterable[x509.GeneralName],
        usages: Iterable[x509.ObjectIdentifier],
        ttl: datetime.timedelta,
    ) -> bytes:
        """A leaf certificate in PEM."""
        builder = _builder(subject, self.certificate.subject, public_key, ttl)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        authority = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def make_ca(name: str = "modelyard") -> Authority:
    """A new authority: ECDSA P-256, ten years, may sign leaves only."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} certificate authority")])
    builder = _builder(subject, subject, key.public_key(), AUTHORITY_TTL)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_authority_usage(), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return Authority(key, builder.sign(key, hashes.SHA256()))


def load_ca(certificate_pem: bytes, key_pem: bytes) -> Authority:
    """The authority that was saved. Raises ValueError if the two do not belong together."""
    key = serialization.load_pem_private_key(key_pem, password=None)
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError("the authority's key and certificate do not belong together")
    return Authority(key, certificate)


def ca_hash(certificate_pem: bytes) -> str:
    """sha256 of the certificate (DER) in hexadecimal: what a join line pins."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def make_server_certificate(authority: Authority, hosts: Iterable[str]) -> tuple[bytes, bytes]:
    """(certificate, key) in PEM for a server reached by `hosts` (names or addresses), 90 days."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "modelyard")])
    names = [_general_name(host) for host in hosts]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH]
    return authority.sign(subject, key.public_key(), names, usages, SERVER_TTL), _key_pem(key)


def make_request(node: str) -> tuple[bytes, bytes]:
    """(signing request, key) in PEM, for the machine that wants a certificate; the key stays there."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM), _key_pem(key)


def sign_request(authority: Authority, csr: bytes, node: str, ttl: datetime.timedelta = NODE_TTL) -> bytes:
    """A certificate in PEM for `node`: CN=<node>, URI modelyard:node:<node>, and no host: it is shown to services, and
    to who dials the node as such.

    Only the request's public key is used; whatever names it asks for are ignored. Raises
    SigningRequestInvalid.
    """
    public_key = _requested_key(csr)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    names = [x509.UniformResourceIdentifier(node_uri(node))]
    return authority.sign(subject, public_key, names, _NODE_USAGES, ttl)


def serves(certificate_pem: bytes) -> bool:
    """Whether a node can be dialled by its certificate; those of earlier versions said only who dials."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return ExtendedKeyUsageOID.SERVER_AUTH in usages


def _requested_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(csr)
        key = request.public_key()
        valid = request.is_signature_valid
    except (ValueError, InvalidSignature) as error:
        raise SigningRequestInvalid(field="csr") from error
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey):
        raise SigningRequestInvalid(field="csr")
    return key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, ttl: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + ttl)
    )


def _authority_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


# Files of a state directory.


def ensure_authority(state_dir: Path) -> Authority:
    """The yard's authority, made if absent: secrets/ca.key (0600) and tls/ca.pem. Safe when two race.

    Raises AuthorityBroken rather than replace an authority that nodes have pinned.
    """
    key, certificate = state_dir / "secrets" / "ca.key", state_dir / "tls" / "ca.pem"
    with _Exclusive(state_dir):
        if not certificate.exists():  # written last: nobody can have pinned what is not there
            made = make_ca()
            write_atomically(key, made.key_pem)
            write_atomically(certificate, made.pem, 0o644)
        try:
            return load_ca(certificate.read_bytes(), key.read_bytes())
        except (OSError, ValueError) as error:
            raise AuthorityBroken(
                f"cannot use the authority {certificate} with the key {key} ({error}); restore both from a"
                " backup, or remove both to make a new one, which every node must join anew"
            ) from error


def ensure_server_files(state_dir: Path, hosts: Iterable[str]) -> TlsFiles:
    """tls/server.pem and .key for `hosts`, this machine's name and loopback; renewed 30 days ahead.

    The authority's certificate stands behind the server's: who has only its hash can find it in the chain.
    """
    authority = ensure_authority(state_dir)
    folder = state_dir / "tls"
    files = TlsFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem")
    wanted = _reachable_names(hosts)
    with _Exclusive(state_dir):
        if not _still_good(files, authority, wanted):
            certificate, key = make_server_certificate(authority, sorted(wanted))
            write_atomically(files.key, key)
            write_atomically(files.certificate, certificate + authority.pem, 0o644)
    return files


def _reachable_names(hosts: Iterable[str]) -> set[str]:
    """What a certificate must name; a wildcard address stands for the machine's own name."""
    named = {host for host in hosts if host not in ("0.0.0.0", "::")}
    return named | {"localhost", "127.0.0.1", "::1", socket.gethostname()}


def _still_good(files: TlsFiles, authority: Authority, wanted: set[str]) -> bool:
    if not files.certificate.exists() or not files.key.exists():
        return False
    chain = files.certificate.read_bytes()
    if not chain.endswith(authority.pem):
        return False
    certificate = x509.load_pem_x509_certificate(chain)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    known = {str(name.value) for name in names}
    expires = certificate.not_valid_after_utc
    fresh = expires - datetime.datetime.now(datetime.UTC) > _RENEW_BEFORE
    return fresh and wanted <= known and authority.signed(certificate)


class _Exclusive:
    """One process at a time makes keys in a state directory."""

    def __init__(self, state_dir: Path) -> None:
        for name in ("secrets", "tls"):
            (state_dir / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = state_dir / "secrets" / ".lock"

    def __enter__(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
