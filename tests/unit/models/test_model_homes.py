"""That a node is this machine is proved, not believed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from modelyard.v1 import seat_pb2
from services.models.frames.homes import HOME_FILE, Homes

pytestmark = pytest.mark.asyncio
BOOT = Path("/proc/sys/kernel/random/boot_id")


def hello(home: Path, proof: str, **fields: str) -> seat_pb2.SeatHello:
    if not BOOT.exists():
        pytest.skip("this system does not say when it was booted")
    network = f"{BOOT.read_text().strip()} net:[1]"
    return seat_pb2.SeatHello(
        **{"node": "node-1", "network": network, **fields},
        home=seat_pb2.SeatHome(directory=str(home), proof=proof),
    )


async def test_home_whose_proof_stands_there_gives_sockets_below_it_only(tmp_path: Path) -> None:
    homes, proof = Homes(), secrets.token_hex(32)
    (tmp_path / HOME_FILE).write_text(proof)
    await homes.greeted(hello(tmp_path, proof))
    assert (
        homes.socket_of("node-1", f"{tmp_path}/tasks/t-1-1/work")
        == f"{tmp_path}/tasks/t-1-1/work/frame.socket"
    )
    assert homes.socket_of("node-2", f"{tmp_path}/tasks/t-1-1/work") == ""
    for elsewhere in ("/run", f"{tmp_path}-other/work", f"{tmp_path}/../work", "work", ""):
        assert homes.socket_of("node-1", elsewhere) == ""


async def test_home_of_another_machine_or_start_is_not_this_one(tmp_path: Path) -> None:
    homes, proof = Homes(), secrets.token_hex(32)
    (tmp_path / HOME_FILE).write_text(proof)
    work = f"{tmp_path}/work"
    for wrong in (
        hello(tmp_path, secrets.token_hex(32)),
        hello(tmp_path, proof[:-1]),
        hello(tmp_path, ""),
        hello(tmp_path / "absent", proof),
        hello(tmp_path, proof, network="another-boot net:[1]"),
        hello(tmp_path, proof, network=""),
        seat_pb2.SeatHello(node="node-1"),
    ):
        await homes.greeted(hello(tmp_path, proof))
        assert homes.socket_of("node-1", work)
        await homes.greeted(wrong)
        assert homes.socket_of("node-1", work) == ""


async def test_home_that_is_no_plain_file_proves_nothing(tmp_path: Path) -> None:
    homes, proof = Homes(), secrets.token_hex(32)
    (tmp_path / "word").write_text(proof)
    (tmp_path / HOME_FILE).symlink_to(tmp_path / "word")
    await homes.greeted(hello(tmp_path, proof))
    assert homes.socket_of("node-1", f"{tmp_path}/work") == ""
    (tmp_path / HOME_FILE).unlink()
    os.mkfifo(tmp_path / HOME_FILE)
    await homes.greeted(hello(tmp_path, proof))
    assert homes.socket_of("node-1", f"{tmp_path}/work") == ""
