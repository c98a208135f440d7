"""Parameters of the agent's environment, inputs that are values, and files that pass on, with a real agent process."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from modelyard.v1 import task_pb2
from tests.support.agent_process import bundle, operator, running_agent, shell
from tests.support.sample_operators import spoils

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_PARAM_SET", '{"value": [1, "é"]}')
    monkeypatch.setenv("MODELYARD_PARAM_LIST", "[1]")
    monkeypatch.setenv("SECRET", '{"value": "stolen"}')


async def test_operator_gets_what_its_agents_environment_gives(tmp_path: Path) -> None:  # S1.4
    async with running_agent(tmp_path / "y") as (scheduler, _):
        spec = operator("echo", params_json='{"value": 0}', parameter_env="SET")
        scheduler.start_tasks(spec, ["t-1"])
        scheduler.start_tasks(spec, ["t-2"], params_json='{"value": 2}')
        ends = await scheduler.exited("t-1", "t-2")
        assert [json.loads(end.result.value_json) for end in ends] == [[1, "é"], 2]
        given = ends[0].usage.given_parameters
        assert (given.variable, given.params_json) == ("MODELYARD_PARAM_SET", '{"value": [1, "é"]}')
        assert len(given.digest) == 64


async def test_command_finds_them_in_its_parameter_file(tmp_path: Path) -> None:  # S1.4
    async with running_agent(tmp_path / "y") as (scheduler, _):
        spec = shell("cat $YARD_PARAMS; env", params_json='{"rate": 1}', parameter_env="SET")
        scheduler.start_tasks(spec, ["t-1"], params_json='{"depth": 2}')
        [end] = await scheduler.exited("t-1")
        await scheduler.until(lambda: len(scheduler.log("t-1")) >= end.stdout_bytes, "its log")
        text = scheduler.log("t-1").decode()
        assert json.loads(text.partition("}")[0] + "}") == {"rate": 1, "value": [1, "é"], "depth": 2}
        assert "MODELYARD_PARAM" not in text
        assert "SECRET" not in text


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("NONE", "is not set"), ("LIST", "is not a JSON object"), ("SECRET", "is not set")],
)
async def test_variable_that_cannot_be_used_fails_the_attempt_in_setup(
    tmp_path: Path, name: str, wrong: str
) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.start_tasks(operator("echo", parameter_env=name), ["t-1"])
        [end] = await scheduler.exited("t-1")
        assert end.error.cause == task_pb2.TASK_CAUSE_SETUP
        assert end.error.message == f"the variable MODELYARD_PARAM_{name} of the agent on node n1 {wrong}"
        assert end.error.next_step.startswith("on n1: ")
        assert not end.HasField("result")


@pytest.mark.parametrize("is_large", [False, True])
async def test_command_gets_the_text_of_a_value(tmp_path: Path, is_large: bool) -> None:  # S1.5
    text = 'say "é"\n' * (20_000 if is_large else 2)
    async with running_agent(tmp_path / "y") as (scheduler, _):
        data = json.dumps(text).encode()
        source = {"digest": scheduler.store.add(data)} if is_large else {"data": data}
        inputs = {"text": task_pb2.Input(is_value=True, **source)}  # type: ignore[arg-type]
        scheduler.start_tasks(shell("cp $YARD_INPUT_TEXT out", inputs=inputs, outputs=["out"]), ["t-1"])
        [end] = await scheduler.exited("t-1")
        [output] = end.result.outputs
        assert scheduler.store.blobs[output.digest].decode() == text


async def test_input_that_is_no_value_fails_the_attempt(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        inputs = {"text": task_pb2.Input(data=b'"no end', is_value=True)}
        scheduler.start_tasks(shell("true", inputs=inputs), ["t-1"])
        [end] = await scheduler.exited("t-1")
        assert end.error.cause == task_pb2.TASK_CAUSE_SETUP
        assert "an input is no JSON" in end.error.message


async def test_what_one_task_leaves_the_next_gets_without_the_store(tmp_path: Path) -> None:  # S1.5
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        make = shell("head -c 100000 /dev/urandom > out; ln -s out second; : > empty", outputs=["*"])
        scheduler.start_tasks(make, ["t-1"])
        [end] = await scheduler.exited("t-1")
        digests = {output.name: output.digest for output in end.result.outputs}
        assert set(digests) == {"out", "second", "empty"}
        assert {path.name for path in (agent.root / "inputs").iterdir()} == {digests["out"], digests["empty"]}
        spec = operator("files.read", params_json='{"max_bytes": 1}')
        spec.inputs["file"].digest = digests["out"]
        scheduler.start_tasks(spec, ["t-2"])
        [end] = await scheduler.exited("t-2")
        assert not end.HasField("error"), end.error
        assert scheduler.store.fetches == 0


async def test_input_that_a_call_has_written_to_is_fetched_again_for_the_next(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        code = "from pathlib import Path\nfrom modelyard import Input\n\n" + inspect.getsource(spoils)
        archive = bundle(own__py=code)
        spec = operator("own:spoils", bundle_digest=scheduler.store.add(archive))
        spec.inputs["file"].digest = scheduler.store.add(b"as it was")
        for task_id in ("t-1", "t-2"):
            scheduler.start_tasks(spec, [task_id])
            [end] = await scheduler.exited(task_id)
            assert json.loads(end.result.value_json) == "as it was"
