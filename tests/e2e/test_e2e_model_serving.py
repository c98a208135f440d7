"""From a file to an answered call on a real yard, by `yard model`: deployed, moved, rolled back, killed, unloaded."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from modelyard.client.aio import Client
from modelyard.oip.v2 import inference_pb2 as ip
from modelyard.v1 import model_pb2 as pb
from modelyard.v1 import model_pb2_grpc
from tests.support.hostile_components import BY_NAME, PACKED
from tests.support.wait import wait_until_sync
from tests.support.yard import Yard, new_yard

ADDER = """
class Adder:
    def predict(self, x: int) -> int:
        return x + {plus}
"""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(is_up=False) as made:
        up = made.up("--models")
        assert up.code == 0, f"{up.stderr}\n{made.logs()}"
        yield made
        done = made.cli("down")
        assert done.code == 0, done.stderr
        assert not made.left_over(), made.left_over()


def push(yard: Yard, room: Path, name: str, plus: int) -> None:
    file = room / "adder.py"
    file.write_text(ADDER.format(plus=plus))
    done = yard.cli("model", "push", str(file), "--name", name)
    assert done.code == 0, done.stderr


@asynccontextmanager
async def caller(yard: Yard) -> AsyncIterator[Client]:
    async with yard.client(models=f"127.0.0.1:{yard.port + 4}") as client:
        yield client


async def infer(client: Client, model: str, value: int) -> int:
    method = client.connection.models().unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=ip.ModelInferRequest.SerializeToString,
        response_deserializer=ip.ModelInferResponse.FromString,
    )
    tensor = ip.ModelInferRequest.InferInputTensor(name="x", datatype="INT64", shape=[1])
    request = ip.ModelInferRequest(
        model_name=model, inputs=[tensor], raw_input_contents=[np.array([value], np.int64).tobytes()]
    )
    answer = await method(request, timeout=60)
    return int(np.frombuffer(answer.raw_output_contents[0], np.int64)[0])


def called(yard: Yard, model: str, value: int) -> int:
    async def call() -> int:
        async with caller(yard) as client:
            return await infer(client, model, value)

    return asyncio.run(call())


def frames(yard: Yard, model: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = yard.json("model", "frames", "--model", model).get("frames", [])
    return found


def test_file_is_deployed_called_and_unloaded(yard: Yard, tmp_path: Path) -> None:  # S2.5, S2.6
    push(yard, tmp_path, "adder", 5)
    done = yard.cli("model", "deploy", "adder")
    assert done.code == 0, done.stderr
    assert "adder 1 ready on" in done.stderr, "what becomes of its frame is told"
    assert called(yard, "adder", 3) == 8
    (frame,) = frames(yard, "adder")
    assert frame["state"] == "FRAME_STATE_READY"
    kept = yard.cli("model", "unload", "adder")
    assert kept.code == 6 and "yard model undeploy adder" in kept.stderr
    assert yard.cli("model", "undeploy", "adder").code == 0
    wait_until_sync(lambda: not frames(yard, "adder"), "its memory is back", timeout_s=30)
    why = yard.cli("model", "why", "adder")
    assert "is not loaded; a call loads it" in why.stdout
    assert called(yard, "adder", 4) == 9


def test_killed_service_finds_its_frame_again(yard: Yard, tmp_path: Path) -> None:  # S2.6
    push(yard, tmp_path, "kept", 1)
    assert yard.cli("model", "deploy", "kept").code == 0
    (before,) = frames(yard, "kept")
    pid = yard.kill("models")
    yard.wait_for("models", not_pid=pid)
    assert called(yard, "kept", 1) == 2
    (after,) = frames(yard, "kept")
    assert (after["id"], after["taskId"]) == (before["id"], before["taskId"])
    assert yard.cli("model", "undeploy", "kept").code == 0


def test_rollback_under_load_fails_no_call(yard: Yard, tmp_path: Path) -> None:  # S2.6, G4
    """Every call is answered, by one version or the other; after the rollback by the one before."""
    push(yard, tmp_path, "moving", 100)
    push(yard, tmp_path, "moving", 200)
    done = yard.cli("model", "deploy", "moving:1")
    assert done.code == 0, done.stderr
    answers: list[int] = []

    async def load(client: Client, over: asyncio.Event, moved: asyncio.Event) -> None:
        while not over.is_set():
            answers.append(await infer(client, "moving", 0))
            if answers[-1] == 200:
                moved.set()

    async def story() -> None:
        over, moved = asyncio.Event(), asyncio.Event()
        async with caller(yard) as client:
            callers = [asyncio.create_task(load(client, over, moved)) for _ in range(4)]
            await client.deployments.modify("moving", routes=["moving:2"])
            await asyncio.wait_for(moved.wait(), 60)
            await client.deployments.roll_back("moving", "numbers are wrong")
            assert await infer(client, "moving", 0) == 100
            over.set()
            await asyncio.gather(*callers)

    asyncio.run(story())
    assert set(answers) == {100, 200}
    shown = yard.cli("model", "deployments", "moving")
    assert "moving:1" in shown.stdout
    assert yard.cli("model", "undeploy", "moving").code == 0


def test_load_says_where_it_is_and_why_it_cannot(yard: Yard, tmp_path: Path) -> None:  # S2.6
    push(yard, tmp_path, "loaded", 1)
    done = yard.cli("model", "load", "loaded", "--node", "node-2")
    assert done.code == 0, done.stderr
    assert "node-2" in done.stdout
    absent = yard.cli("model", "load", "loaded", "--version", "9")
    assert absent.code == 3 and "9" in absent.stderr
    gone = yard.cli("model", "unload", "loaded")
    assert gone.code == 0 and not frames(yard, "loaded")


def test_deleted_version_ends_and_what_is_deployed_stays(yard: Yard, tmp_path: Path) -> None:  # S2.2, S2.6
    for plus in (10, 20):
        push(yard, tmp_path, "fading", plus)
    assert yard.cli("model", "load", "fading", "--version", "1").code == 0
    assert yard.cli("model", "deploy", "fading:2").code == 0
    refused = yard.cli("model", "rm", "fading:2", "--yes")
    assert refused.code == 6 and "yard model undeploy fading" in refused.stderr
    assert called(yard, "fading", 1) == 21
    done = yard.cli("model", "rm", "fading:1", "--yes")
    assert done.code == 0, done.stderr
    wait_until_sync(
        lambda: [one["version"] for one in frames(yard, "fading")] == ["2"],
        "version 1 has ended",
        timeout_s=30,
    )
    assert called(yard, "fading", 1) == 21
    assert yard.cli("model", "undeploy", "fading").code == 0


@pytest.mark.asyncio
@pytest.mark.timeout(280)
async def test_components_that_mean_harm_are_refused_and_hurt_no_call(
    yard: Yard, tmp_path: Path
) -> None:  # issue 6, point 7; N4
    """All at once, on the machine that answers: each for its own reason, while another model answers every call."""
    push(yard, tmp_path, "unhurt", 5)
    async with caller(yard) as client:
        assert await infer(client, "unhurt", 1) == 6
        over = asyncio.Event()

        async def calls() -> int:
            answered = 0
            while not over.is_set():
                assert await infer(client, "unhurt", answered) == answered + 5
                answered += 1
            return answered

        calling = asyncio.create_task(calls())
        try:
            files = [handed_in(client, tmp_path, name) for name in BY_NAME]
            found = await asyncio.gather(*files, *(handed_in_packed(client, name) for name in PACKED))
        finally:
            over.set()
            answered = await calling
    assert answered
    for (name, hostile), version in zip(BY_NAME.items(), found, strict=False):
        assert (version.reason, hostile.word in version.message) == (hostile.reason, True), (
            f"{name}: {version}"
        )
    for name, version in zip(PACKED, found[len(BY_NAME) :], strict=True):
        assert version.reason == "INSPECTION_SETUP" and version.message, f"{name}: {version}"
    assert not Path("/tmp/taken").exists()
    text = yard.cli("model", "get", "hostile-exported").stdout
    assert "--trust default/hostile-exported" in text and "runs what is in it" in text, text


async def handed_in(client: Client, room: Path, name: str) -> pb.ModelVersion:
    """What becomes of it."""
    folder = room / name
    folder.mkdir()
    BY_NAME[name].make(folder)
    made = await client.models.push(folder, name=f"hostile-{name}")
    return await client.models.settled(made.version.model, made.version.version)


async def handed_in_packed(client: Client, name: str) -> pb.ModelVersion:
    """As a whole component that is packed, which no client of ours would do so."""
    kept = await client.artifacts.put(PACKED[name], name="component.tar.gz")
    request = pb.CreateModelVersionRequest(
        request_id=str(uuid.uuid4()), model=f"packed-{name}",
        files=[pb.ComponentFile(path="./", digest=kept.digest)],
    )  # fmt: skip
    stub = model_pb2_grpc.ModelServiceStub(client.connection.models())
    made = await client.connection.unary(stub.CreateModelVersion, request)
    return await client.models.settled(made.version.model, made.version.version)
