"""Whoever speaks the Open Inference Protocol calls models of a real yard: the conformance suite, the stock clients of
Triton and of KServe unchanged, and `yard model call` (S2.5, S2.6)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.separate_environment import interpreter
from tests.support.yard import Yard, new_yard

ROOT = Path(__file__).parents[2]
STOCK = ROOT / "tests" / "stock_clients"
MODEL = "every-type"
REVOKED_S = 8
"""Patience with a slow machine; without the word of the scheduler a token would begin calls for 15 s."""
STREAMER = """from collections.abc import Iterator


class Counter:
    def predict(self, count: int) -> Iterator[int]:
        yield from range(count)
"""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(is_up=False, agents=2) as made:
        result = made.up("--models")
        assert result.code == 0, f"{result.stderr}\n{made.logs()}"
        component, config = "tests/conformance/component", "tests/conformance/every_type.yaml"
        pushed = made.cli(
            "model", "push", str(ROOT / component), "--name", MODEL, "--config", str(ROOT / config)
        )
        assert pushed.code == 0, f"{pushed.stderr}\n{made.logs()}"
        yield made


def stock(client: str, program: str) -> list[str]:
    """The command of a program of `stock_clients`, in the environment of its client."""
    return [str(interpreter(client, STOCK / f"{client}.txt")), str(STOCK / program)]


def token_file(yard: Yard) -> str:
    return str(yard.state / "secrets" / "admin.token")


def test_server_conforms_to_the_protocol(yard: Yard) -> None:  # S2.5
    environ = {
        **os.environ, "CONFORMANCE_HOST": yard.models, "CONFORMANCE_MODEL": MODEL,
        "CONFORMANCE_TOKEN_FILE": token_file(yard),
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/conformance"]
    result = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, f"{result.stdout}\n{yard.logs()}"
    assert "passed" in result.stdout


def test_stock_client_works_unchanged(yard: Yard) -> None:  # S2.5
    command = [*stock("triton", "triton_program.py"), yard.models, token_file(yard)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, f"{result.stderr}\n{yard.logs()}"
    done = json.loads(result.stdout)
    assert {"live", "ready", "metadata", "statistics", "stream", "asyncio", "asyncio stream"} <= set(done)
    assert sum(step.startswith("infer ") for step in done) == 14


def test_key_changes_without_a_restart_for_stock_clients(yard: Yard) -> None:  # S2.6, S0.9
    def ready() -> tuple[int, int]:
        found = json.loads((yard.state / "run" / "models.json").read_text())
        return found["pid"], found["start_time_ms"]

    before = ready()
    command = [*stock("triton", "triton_keys.py"), yard.models]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
        try:
            assert clients.stdin is not None and clients.stdout is not None

            def codes(token: str) -> set[str]:
                assert clients.stdin is not None and clients.stdout is not None
                clients.stdin.write(token + "\n")
                clients.stdin.flush()
                answer = json.loads(clients.stdout.readline())
                assert set(answer) == {"tritonclient", "grpc"}
                return set(answer.values())

            old, new = (yard.json("tokens", "add", "--account", "default") for _ in range(2))
            assert codes(old["secret"]) == codes(new["secret"]) == codes(old["secret"]) == {"OK"}
            assert yard.cli("tokens", "rm", old["token"]["id"]).code == 0
            revoked = begun = time.monotonic()
            while "OK" in codes(old["secret"]):
                # When it was begun: how long the answer takes makes no difference.
                assert begun - revoked < REVOKED_S
                assert codes(new["secret"]) == {"OK"}
                time.sleep(0.25)
                begun = time.monotonic()
            assert codes(new["secret"]) == {"OK"} and codes(old["secret"]) == {"UNAUTHENTICATED"}
        finally:
            clients.stdin.close()
            clients.wait(timeout=60)
    assert ready() == before


def test_client_of_kserve_works_unchanged(yard: Yard) -> None:  # S2.5
    command = [*stock("kserve", "kserve_program.py"), yard.models, token_file(yard)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, f"{result.stderr}\n{yard.logs()}"
    done = json.loads(result.stdout)
    assert {"live", "ready", "metadata", "load", "refused NOT_FOUND", "refused UNAUTHENTICATED"} <= set(done)
    assert sum(step.startswith("raw ") for step in done) == 13
    assert sum(step.startswith("typed ") for step in done) == 12


def test_model_is_called_with_what_people_have(yard: Yard, tmp_path: Path) -> None:  # S2.5
    rows = tmp_path / "rows.csv"
    rows.write_text("1,2\n3,4\n")
    got = yard.json("model", "call", MODEL, "--input", f"in_int64=@{rows}", "--save", str(tmp_path / "out"))
    assert got == {"out_int64": [[1, 2], [3, 4]]}
    assert (tmp_path / "out" / "out_int64.npy").exists()
    wrong = yard.cli("model", "call", MODEL, "--input", "in_nothing=1")
    assert wrong.code == 2
    assert "no input" in wrong.stderr


def test_model_is_called_from_python(yard: Yard) -> None:  # S2.5
    import numpy as np

    from modelyard.client import SyncClient

    with SyncClient(state=yard.state) as client:
        answer = client.models.call(MODEL, {"in_fp32": [[1.5, 2.5]], "in_bytes": [["é", b"\x00"]]})
        assert answer["out_fp32"] == [[1.5, 2.5]]
        assert answer["out_bytes"] == [["é".encode(), b"\x00"]]
        array = np.arange(2_000_000, dtype=np.float32).reshape(2, -1)
        answer = client.models.call(MODEL, {"in_fp32": array}, outputs=["out_fp32"])
        assert (answer.outputs["out_fp32"].array() == array).all()


def test_parts_come_one_by_one(yard: Yard, tmp_path: Path) -> None:  # S2.5
    from modelyard.client import SyncClient

    (tmp_path / "counter.py").write_text(STREAMER)
    pushed = yard.cli("model", "push", str(tmp_path / "counter.py"), "--name", "counter")
    assert pushed.code == 0, f"{pushed.stdout}{pushed.stderr}\n{yard.logs()}"
    with SyncClient(state=yard.state) as client:
        parts = [answer["result"] for answer in client.models.stream_call("counter", {"count": 3})]
        assert [part[0] if isinstance(part, list) else part for part in parts] == [0, 1, 2]
    refused = yard.cli("model", "call", "counter", "--input", "count=3")
    assert refused.code != 0
    assert "in parts" in refused.stderr
