"""S0.6 as a user sees it: attached files and directories lie in the working directory before the work begins."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path

import pytest

from modelyard.client.aio import Client
from modelyard.client.specs import command_spec
from modelyard.errors import YardError
from modelyard.v1 import task_pb2
from tests.support.yard import Yard

OPERATORS = """
import hashlib

from modelyard import Context


def look(ctx: Context) -> list:
    found = []
    for name, path in sorted(ctx.attachments.items()):
        assert path == ctx.directory / name, (path, ctx.directory)
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        found += [[str(p.relative_to(ctx.directory)), hashlib.sha256(p.read_bytes()).hexdigest()] for p in files]
    return found
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory with a small file, and one below."""
    directory = tmp_path / "model"
    (directory / "sub").mkdir(parents=True)
    (directory / "config.json").write_text('{"layers": 2}')
    (directory / "sub" / "weights.bin").write_bytes(os.urandom(100_000))
    return directory


def test_command_finds_attached_files_and_directories_at_their_paths(
    yard: Yard, tmp_path: Path, model: Path
) -> None:  # S0.6
    data = tmp_path / "train.csv"
    data.write_text("a,b\n1,2\n")
    script = f"cmp {data} data/train.csv && cmp {data} train.csv && diff -r {model} model && diff -r {model} m2 && pwd"
    attach = ("--attach", str(data), "--attach", f"{data}:data/train.csv", "--attach", f"{model}/")
    words = (*attach, "--attach", f"{model}:m2", "--cpu", "0.1")
    for node in yard.nodes:
        result = yard.cli("run", "--node", node, *words, "--", "sh", "-c", script)
        assert (result.code, Path(result.stdout.strip()).name) == (0, "work"), result.stderr


@pytest.mark.asyncio
async def test_operator_sees_attachments_by_the_context_and_by_the_command_line(
    yard: Yard, tmp_path: Path, model: Path
) -> None:  # S0.6
    code = tmp_path / "code"
    code.mkdir()
    (code / "tool.py").write_text(OPERATORS)
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(65 << 20))
    expected = [
        [name, hashlib.sha256(path.read_bytes()).hexdigest()]
        for name, path in (
            ("big.bin", big),
            ("m/config.json", model / "config.json"),
            ("m/sub/weights.bin", model / "sub" / "weights.bin"),
        )
    ]
    words = ("call", "tool:look", "--dir", str(code), "--attach", str(big), "--attach", f"{model}:m")
    for node in yard.nodes:
        result = await asyncio.to_thread(yard.cli, *words, "--node", node)
        assert result.code == 0, result.stderr
        assert json.loads(result.stdout) == expected
    async with yard.client() as client:
        bundle = await client.artifacts.bundle(code)
        value = await client.call(
            "tool:look", attachments={"big.bin": big, "m": model}, options={"bundle_digest": bundle}
        )
        assert value == expected


@pytest.mark.asyncio
async def test_task_that_writes_into_a_large_attachment_harms_nobody_after_it(
    yard: Yard, tmp_path: Path
) -> None:  # S0.6
    big = tmp_path / "shared.bin"
    big.write_bytes(b"0" * (70 << 20))
    spoil = "chmod u+w shared.bin; printf spoilt | dd of=shared.bin conv=notrunc 2>/dev/null; head -c 6 shared.bin"
    node = yard.nodes[0]
    words = ("run", "--node", node, "--attach", str(big), "--cpu", "0.1", "--", "sh", "-c")
    first = await asyncio.to_thread(yard.cli, *words, spoil)
    assert (first.code, first.stdout) == (0, "spoilt"), first.stderr
    second = await asyncio.to_thread(yard.cli, *words, "head -c 6 shared.bin")
    assert (second.code, second.stdout) == (0, "000000"), second.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--attach", "missing.bin"), 2, "missing.bin"),
        (("--attach", "HERE:../up"), 7, "leaves the working directory"),
        (("--attach", "HERE:/abs"), 7, "leaves the working directory"),
        (("--attach", "HERE:a", "--attach", "HERE:a/b"), 7, "lies within the other"),
        (("--attach", "HERE", "--attach", "HERE"), 2, "attached twice"),
        (("--attach", f"sha256:{'0' * 64}:x"), 3, "the store does not have"),
    ],
)
def test_attachments_that_cannot_be_are_refused_with_field_and_next_step(
    yard: Yard, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:  # S0.6
    (tmp_path / "f").write_text("f")
    words = tuple(word.replace("HERE", str(tmp_path / "f")) for word in words)
    result = yard.cli("run", *words, "--", "true")
    assert result.code == code, result.stderr
    assert said in result.stderr
    if code != 2:
        assert "next:" in result.stderr or "attachment" in result.stderr


@pytest.mark.asyncio
async def test_attachment_over_a_file_of_the_bundle_ends_as_setup(yard: Yard, tmp_path: Path) -> None:  # S0.6
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.txt").write_text("from the bundle")
    async with yard.client() as client:
        outcome = await _outcome(client, code, {"a.txt": code / "a.txt"})
        assert outcome.error.cause == task_pb2.TASK_CAUSE_SETUP
        assert "has that already" in outcome.error.message
        assert outcome.error.next_step
        spec = command_spec(["true"])
        spec.attachments.add(path="x", digest="f" * 64)
        with pytest.raises(YardError) as refused:
            await client.tasks.submit(spec)
        assert refused.value.reason == "INPUT_NOT_FOUND"


@pytest.mark.asyncio
async def test_directory_that_is_no_archive_ends_as_setup_with_a_next_step(yard: Yard) -> None:  # S0.6
    async with yard.client() as client:
        digest = (await client.artifacts.put(b"no archive", name="x")).digest
        spec = command_spec(["true"])
        spec.attachments.add(path="d", digest=digest, is_directory=True)
        (task_id,) = await client.tasks.submit(spec)
        outcome = await client.outcome(task_id)
    assert outcome.error.cause == task_pb2.TASK_CAUSE_SETUP
    assert "not a sound tar.gz" in outcome.error.message
    assert "--attach DIR/" in outcome.error.next_step


async def _outcome(client: Client, directory: Path, attachments: dict[str, Path]) -> task_pb2.TaskOutcome:
    spec = command_spec(["true"])
    await client.attach(spec, directory=directory, attachments=attachments)
    (task_id,) = await client.tasks.submit(spec)
    return await client.outcome(task_id)


def _memory_peak_kib(yard: Yard, name: str) -> int:
    """The most memory that a service has ever held."""
    pid = json.loads((yard.state / "run" / f"{name}.json").read_text())["pid"]
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


@pytest.mark.asyncio
async def test_large_attachment_is_nowhere_held_in_memory(own_yard: Yard, tmp_path: Path) -> None:  # S0.6
    yard, big = own_yard, tmp_path / "big.bin"
    with big.open("wb") as file:
        file.truncate(300 << 20)
    names = ("store", "scheduler", *(f"agent-{node}" for node in yard.nodes))
    before = {name: _memory_peak_kib(yard, name) for name in names}
    words = ("run", "--attach", str(big), "--", "cmp", str(big), "big.bin")
    result = await asyncio.to_thread(yard.cli, *words)
    assert result.code == 0, result.stderr
    grown = {name: (_memory_peak_kib(yard, name) - before[name]) >> 10 for name in names}
    assert max(grown.values()) < 100, f"MiB more than before: {grown}"
