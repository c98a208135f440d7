"""The authority, its certificates and their files."""

from __future__ import annotations

import datetime
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.chassis.process.tls import (
    AuthorityBroken,
    SigningRequestInvalid,
    ca_hash,
    ensure_authority,
    ensure_server_files,
    load_ca,
    make_ca,
    make_request,
    sign_request,
)


def lifetime(certificate: x509.Certificate) -> datetime.timedelta:
    return certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)


def test_authority_lives_ten_years_and_is_pinned_by_its_hash() -> None:
    authority = make_ca()
    assert lifetime(authority.certificate) > datetime.timedelta(days=3649)
    assert ca_hash(authority.pem) == authority.certificate.fingerprint(hashes.SHA256()).hex()
    assert ca_hash(load_ca(authority.pem, authority.key_pem).pem) == ca_hash(authority.pem)
    with pytest.raises(ValueError, match="belong together"):
        load_ca(authority.pem, make_ca().key_pem)


def test_node_certificate_carries_the_name_the_service_chose_for_a_day() -> None:
    authority = make_ca()
    csr, _ = make_request("somebody-else")
    certificate = x509.load_pem_x509_certificate(sign_request(authority, csr, "node-1"))
    certificate.verify_directly_issued_by(authority.certificate)
    [name] = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == "node-1"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["modelyard:node:node-1"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    assert datetime.timedelta(hours=23) < lifetime(certificate) <= datetime.timedelta(hours=24)


@pytest.mark.parametrize("kind", ["rubbish", "rsa", "torn"])
def test_signing_request_that_is_not_one_is_refused(kind: str) -> None:
    csr, _ = make_request("node-1")
    if kind == "rubbish":
        csr = b"rubbish"
    elif kind == "torn":
        csr = csr[: len(csr) // 2]
    else:
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        csr = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(SigningRequestInvalid) as caught:
        sign_request(make_ca(), csr, "node-1")
    assert caught.value.field == "csr"


def test_server_files_are_kept_until_a_name_is_missing(tmp_path: Path) -> None:
    first = ensure_server_files(tmp_path, ["10.0.0.1"]).certificate.read_bytes()
    assert ensure_server_files(tmp_path, ["10.0.0.1"]).certificate.read_bytes() == first
    files = ensure_server_files(tmp_path, ["yard.example", "10.0.0.1"])
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"yard.example", "localhost"} <= set(names.get_values_for_type(x509.DNSName))
    assert "10.0.0.1" in map(str, names.get_values_for_type(x509.IPAddress))
    certificate.verify_directly_issued_by(ensure_authority(tmp_path).certificate)


def test_server_files_of_another_authority_are_made_anew(tmp_path: Path) -> None:
    first = ensure_server_files(tmp_path, []).certificate.read_bytes()
    (tmp_path / "secrets" / "ca.key").unlink()
    (tmp_path / "tls" / "ca.pem").unlink()
    files = ensure_server_files(tmp_path, [])
    assert files.certificate.read_bytes() != first
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    certificate.verify_directly_issued_by(ensure_authority(tmp_path).certificate)


def test_authority_without_its_key_is_not_replaced(tmp_path: Path) -> None:
    """Every node has pinned it: a new one would lock them all out without a word."""
    pinned = ensure_authority(tmp_path).pem
    (tmp_path / "secrets" / "ca.key").unlink()
    with pytest.raises(AuthorityBroken, match="restore both from a backup"):
        ensure_authority(tmp_path)
    assert (tmp_path / "tls" / "ca.pem").read_bytes() == pinned


def test_private_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    files = ensure_server_files(tmp_path, [])
    for path in (files.key, tmp_path / "secrets" / "ca.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [item for item in (tmp_path / "tls").iterdir() if item.name.startswith(".")]


def test_authority_made_by_many_at_once_is_one(tmp_path: Path) -> None:
    found: list[str] = []

    def make() -> None:
        found.append(ca_hash(ensure_authority(tmp_path).pem))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
