"""A node's certificate, by which frames on it are reached: one that says only who dials is renewed at once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from modelyard.v1 import agent_link_pb2 as pb
from services.agent.config import AgentConfig
from services.agent.link.join import SOONEST_S, Credentials, Record
from services.chassis.process import tls

DAY_MS = 86_400_000


def prepared(home: Path, certificate: bytes, authority: tls.Authority) -> Credentials:
    """Of a node that has joined before, with this key and certificate."""
    (home / "ca.pem").write_bytes(authority.pem)
    (home / "node.pem").write_bytes(certificate)
    (home / "node.json").write_bytes(msgspec.json.encode(Record("token", 0, DAY_MS)))
    found = Credentials(home, "n1", AgentConfig(state_dir=home, port=0))
    found.prepare()
    return found


def of_before(authority: tls.Authority) -> bytes:
    """As earlier versions signed it."""
    request, key = tls.make_request("n1")
    public_key = x509.load_pem_x509_csr(request).public_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "n1")])
    names = [x509.UniformResourceIdentifier("modelyard:node:n1")]
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    return key + authority.sign(subject, public_key, names, usages, tls.NODE_TTL)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_answered_by_an_older_scheduler", [False, True])
def test_certificate_of_before_is_renewed_at_once_and_once(
    tmp_path: Path, is_answered_by_an_older_scheduler: bool
) -> None:
    authority = tls.make_ca()
    credentials = prepared(tmp_path, of_before(authority), authority)
    assert credentials.renew_in_s(0) == SOONEST_S
    request = credentials.renewal().certificate_request_pem.encode()
    signed = b"" if is_answered_by_an_older_scheduler else tls.sign_request(authority, request, "n1")
    credentials.store(pb.NodeCredentials(certificate_pem=signed.decode()), 0)
    assert credentials.renew_in_s(0) != SOONEST_S


def test_certificate_that_can_be_dialled_stays_until_it_is_due(tmp_path: Path) -> None:
    authority = tls.make_ca()
    request, key = tls.make_request("n1")
    credentials = prepared(tmp_path, key + tls.sign_request(authority, request, "n1"), authority)
    due_s = credentials.renew_in_s(0)
    assert due_s is not None and due_s > 3_600
