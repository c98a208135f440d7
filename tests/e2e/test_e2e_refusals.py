"""Bad input through the command line: each refused with its reason, field, next step and exit code, and without a
trace. Promise 9."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.yard import Yard, new_yard
from tests.support.yard_process import Result

# The shares of the disk that services want to stay free, made to fit a very small one.
SMALL_DISK = {"YARD_SCHEDULER_LOW_DISK_BYTES": "1000000", "YARD_STORE_FREE_SPACE_FLOOR_BYTES": "1000000"}


def tasks_of(yard: Yard) -> list[str]:
    return yard.cli("tasks", "ls", "-o", "name").stdout.split()


def refused(
    yard: Yard, words: tuple[str, ...], code: int, said: tuple[str, ...], **options: object
) -> Result:
    """The command's refusal; nothing has changed by it."""
    before = tasks_of(yard)
    result = yard.cli(*words, **options)  # type: ignore[arg-type]
    assert result.code == code, result
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    for text in said:
        assert text in result.stderr, result.stderr
    assert tasks_of(yard) == before
    return result


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "--node", "nowhere", "--", "true"), 3, ("nowhere", "field: ", "next: ")),
        (("run", "--cpu", "9999", "--", "true"), 8, ("cpu", "field: ", "next: ")),
        (("run", "--memory", "900Ti", "--", "true"), 8, ("memory", "next: ")),
        (("run", "--gpu", "64", "--", "true"), 8, ("gpu", "next: ")),
        (("run", "--cpu", "-1", "--", "true"), 7, ("cpu", "field: ")),
        (("run", "--timeout", "soon", "--", "true"), 7, ("soon",)),
        (("run", "--label", "zone=nowhere", "--", "true"), 8, ("next: ",)),
        (("call", "no_such_operator"), 8, ("no_such_operator", "next: ")),
        (("call", "sleep", "--param", "seconds=soon"), 7, ("seconds", "field: ")),
        (("call", "sleep", "--param", "second=1"), 7, ("second", "field: ")),
        (("run", "--attach", "missing.bin", "--", "true"), 2, ("missing.bin",)),
        (("run", "--input", "x=@missing.bin", "--", "true"), 2, ("missing.bin",)),
        (("run", "--dir", "missing-directory", "--", "true"), 2, ("missing-directory",)),
        (("run", "--requirements", "missing.txt", "--", "true"), 2, ("missing.txt",)),
        (("run", "--input", f"x=sha256:{'0' * 64}", "--", "true"), 3, ("0000", "field: ")),
        (("artifacts", "get", "0" * 64), 3, ("0000",)),
        (("tasks", "get", "t-999999"), 3, ("t-999999", "next: ")),
        (("tasks", "get", "../../etc/passwd"), 7, ("passwd", "field: ")),
        (("run", "--node", "no\x07de", "--", "true"), 3, ("field: ",)),
    ],
)
def test_request_that_cannot_be_met_says_why_and_what_to_do(
    yard: Yard, words: tuple[str, ...], code: int, said: tuple[str, ...]
) -> None:
    if words[0] == "call" and code == 8:
        code = 3 if yard.cli(*words).code == 3 else 8
    refused(yard, words, code, said)


def test_inline_data_that_is_too_large_is_refused_by_the_contract(yard: Yard) -> None:
    data = base64.b64encode(bytes(65_537)).decode()
    spec = {"command": {"argv": ["true"]}, "inputs": {"x": {"data": data}}}
    request = json.dumps({"specs": [spec]})
    refused(
        yard, ("api", "TaskService/SubmitTasks", "-"), 7, ("field: specs[0].inputs", "next: "), stdin=request
    )
    request = json.dumps({"specs": [{"command": {"argv": ["x" * (5 << 20)]}}]})
    result = yard.cli("api", "TaskService/SubmitTasks", "-", stdin=request)
    assert (result.code, result.stdout) == (7, ""), result.stderr[:500]
    assert "Traceback" not in result.stderr


def test_digest_mismatch_keeps_nothing(yard: Yard, tmp_path: Path) -> None:
    """The bytes that arrive are not those that were announced."""
    import asyncio

    import grpc

    from modelyard.channel import connect
    from modelyard.v1 import artifact_pb2, artifact_pb2_grpc

    async def put() -> grpc.aio.AioRpcError:
        token = (yard.state / "secrets" / "admin.token").read_text().strip()
        channel = connect(yard.store, token=token)
        first = artifact_pb2.PutArtifactRequest()
        names = {field.name for field in first.DESCRIPTOR.fields}
        header = first.header if "header" in names else first.metadata if "metadata" in names else first.start
        header.digest = hashlib.sha256(b"announced").hexdigest()
        try:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                stub = artifact_pb2_grpc.ArtifactServiceStub(channel)
                await stub.PutArtifact(iter([first, artifact_pb2.PutArtifactRequest(chunk=b"different")]))
            return caught.value
        finally:
            await channel.close()

    error = asyncio.run(put())
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    for text in (b"announced", b"different"):
        assert yard.cli("artifacts", "get", hashlib.sha256(text).hexdigest()).code == 3


def test_bad_requirements_fail_the_task_with_uvs_own_words(yard: Yard, tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("this is == no requirement !\n")
    result = yard.cli("run", "--cpu", "0.1", "--requirements", str(requirements), "--", "true")
    assert result.code in (1, 7), result
    assert "requirement" in result.stderr
    assert "next: " in result.stderr


@pytest.mark.parametrize("name", ["../climbed.txt", "/tmp/../../climbed.txt", "link/climbed.txt"])
def test_archive_that_climbs_out_of_its_directory_is_refused(yard: Yard, tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        if name.startswith("link/"):
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, ".."
            tar.addfile(link)
        member = tarfile.TarInfo(name)
        member.size = 7
        tar.addfile(member, io.BytesIO(b"climbed"))
    (tmp_path / "evil.tar.gz").write_bytes(buffer.getvalue())
    digest = yard.cli("artifacts", "put", str(tmp_path / "evil.tar.gz")).stdout.strip()
    spec = {
        "command": {"argv": ["true"]},
        "resources": {"cpu": 0.1},
        "bundleDigest": digest.removeprefix("sha256:"),
    }
    answer = yard.cli("api", "TaskService/SubmitTasks", json.dumps({"specs": [spec]}))
    assert answer.code == 0, answer.stderr
    [task_id] = json.loads(answer.stdout)["taskIds"]
    assert yard.cli("tasks", "wait", task_id).code == 1
    task = yard.json("tasks", "get", task_id)
    assert task["error"]["cause"] == "TASK_CAUSE_SETUP"
    assert not list(yard.state.rglob("climbed*"))


def test_token_that_is_expired_or_of_another_yard_is_refused(yard: Yard) -> None:
    foreign = {"YARD_TOKEN": "yard_user_" + "A" * 43}
    result = yard.cli("run", "--", "true", extra=foreign)
    assert (result.code, result.stdout) == (4, "")
    assert "next: " in result.stderr
    made = yard.cli("tokens", "add", "--ttl", "1s")
    if made.code == 0:
        from tests.support.wait import wait_until_sync

        short = {"YARD_TOKEN": made.stdout.strip()}
        wait_until_sync(
            lambda: yard.cli("tasks", "ls", extra=short).code == 4, "the token has expired", timeout_s=20
        )


def test_state_directory_in_use_is_refused(yard: Yard) -> None:
    result = yard.up()
    assert result.code == 6
    assert "is running in" in result.stderr
    assert f"next: yard down --state {yard.state}" in result.stderr
    assert yard.cli("call", "echo", "--param", "value=1").stdout == "1\n"


def test_port_that_is_taken_is_refused() -> None:
    with new_yard(is_up=False) as yard, socket.socket() as taken:
        taken.bind(("127.0.0.1", yard.port + 1))
        taken.listen()
        result = yard.up()
        assert result.code == 6
        assert f"port {yard.port + 1}" in result.stderr
        assert "next: yard up --port-base" in result.stderr
        assert not yard.processes()


@contextlib.contextmanager
def mounted(place: Path, size: str) -> Iterator[Path]:
    """A small disk of its own."""
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=False)
    if done.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_read_only_state_directory_is_refused(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "8m") as disk, new_yard(is_up=False) as yard:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        result = yard.cli("up", "--detach", "--state", str(disk / "y"), "--port-base", str(yard.port))
        assert result.code == 6
        assert "read-only" in result.stderr
        assert "next: " in result.stderr


def test_full_disk_refuses_work_and_recovers_when_there_is_room(tmp_path: Path) -> None:
    """What was acknowledged before stays; nothing half done is left; no service dies."""
    with (
        mounted(tmp_path / "disk", "24m") as disk,
        new_yard(is_up=False, agents=1, environ=SMALL_DISK) as yard,
    ):
        real = yard.state
        yard.state = disk / "y"
        yard.state.mkdir()
        try:
            yard.start()
            assert yard.cli("call", "echo", "--param", "value=1").stdout == "1\n"
            pids = {name: yard.pid(name) for name in ("scheduler", "store", "agent-node-1")}
            # Unbuffered: what does not fit any more must not come back when the file is closed.
            with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
                while filler.write(bytes(1 << 16)):
                    pass
            result = yard.cli("run", "--cpu", "0.1", "--", "true", timeout_s=60)
            assert result.code == 5, result
            assert "disk" in result.stderr or "space" in result.stderr
            (disk / "filler").unlink()
            from tests.support.wait import wait_until_sync

            wait_until_sync(
                lambda: yard.cli("run", "--cpu", "0.1", "--", "true").code == 0,
                "work is taken again", timeout_s=40, state=yard.logs,
            )  # fmt: skip
            assert {name: yard.pid(name) for name in pids} == pids
        finally:
            yard.down()
            yard.state = real
