"""What a program of a training job reads of its peers, without asking anybody (S3.7)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelyard.peers import peers, watch_peers

SERVER = {
    "role": "server", "index": 0, "epoch": "2", "name": "server-0.j-1", "host": "a", "ip": "10.0.0.1", "node": "n1",
    "ports": {"rpc": 20001},
}  # fmt: skip
CLIENT = {"role": "client", "index": 3, "name": "client-3.j-1", "local": {"net": "127.64.0.1:21000"}}


def write(path: Path, revision: int, *addresses: object) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({"revision": str(revision), "addresses": addresses}))
    draft.rename(path)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "addresses.json"
    monkeypatch.setenv("YARD_ADDRESSES", str(path))
    write(path, 4, SERVER, CLIENT)
    return path


def test_peers_are_those_of_the_file_that_the_yard_names(file: Path) -> None:
    found = peers()
    assert (found.revision, len(found)) == (4, 2)
    server = found["server", 0]
    assert (server.node, server.epoch, server.address("rpc")) == ("n1", 2, "a:20001")


def test_local_address_goes_before_the_other_one(file: Path) -> None:
    client = peers()["client", 3]
    assert client.node == "" and client.address("net") == "127.64.0.1:21000"
    with pytest.raises(KeyError):
        client.address("rpc")


def test_watch_tells_the_present_and_then_what_is_newer(file: Path) -> None:
    changes = watch_peers(every_s=0.001)
    assert next(changes).revision == 4
    write(file, 3, CLIENT)
    write(file, 5, SERVER)
    assert [one.role for one in next(changes)] == ["server"]
    write(file, 6)
    assert len(next(changes)) == 0


def test_watch_after_a_revision_waits_for_the_next(file: Path) -> None:
    write(file, 7, SERVER)
    assert next(watch_peers(revision=6)).revision == 7


def test_no_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        peers(tmp_path / "nothing.json")
