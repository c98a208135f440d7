"""Every format from push to READY to the right answer of a call, through a yard that reaches no package index.

Each model is made by the library itself; its environment has what its files say that it needs and nothing else, taken
from the node's own packages (ADR 0028). S2.1, S2.2, S2.3, S2.5.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.client.aio import Client
from modelyard.client.calling import Answer
from modelyard.errors import YardError
from modelyard.inspection.requirements import project
from modelyard.v1 import model_pb2 as pb
from tests.support.framework_yard import LONG_S
from tests.support.trained_models import MAKERS, Trained, trained
from tests.support.yard import ROOT, Yard, new_yard

UNTRUSTED = "untrusted"
PROGRAM = """#!{python}
import sys

sys.path.insert(0, {root!r})
from modelyard.enclosure.{module} import main

raise SystemExit(main())
"""


class Ready:
    """What was pushed, and what became of it."""

    def __init__(self, yard: Yard, models: dict[str, Trained]) -> None:
        self.yard = yard
        self.models = models
        self.versions: dict[str, pb.ModelVersion] = {}
        self.configs: dict[str, pb.ModelConfigRevision] = {}
        self.answers: dict[str, Answer | YardError] = {}
        self.wrong: dict[str, Answer | YardError] = {}

    async def work(self) -> None:
        """Everything at once, as it would be on a busy day."""
        async with self.yard.client() as client:
            await asyncio.gather(*(self._model(client, name) for name in self.models))

    async def _model(self, client: Client, name: str) -> None:
        model = self.models[name]
        pushed = await client.models.push(model.source, name=name, config=model.config)
        self.versions[name] = found = await client.models.settled(name, pushed.version.version)
        self.configs[name] = await client.models.config(name)
        if found.state != pb.MODEL_VERSION_STATE_READY:
            return
        self.answers[name] = await _answer(client, name, dict(model.takes))
        self.wrong[name] = await _answer(client, name, wrong_of(model))


async def _answer(client: Client, name: str, inputs: dict[str, Any]) -> Answer | YardError:
    try:
        return await client.models.call(name, inputs, timeout_s=LONG_S)
    except YardError as error:
        return error


def wrong_of(model: Trained) -> dict[str, Any]:
    """A call that cannot be answered: rows without two of their columns, else what the model itself says."""
    [(name, value)] = model.takes.items()
    return dict(model.wrong) or {name: value[:, :2] if isinstance(value, np.ndarray) else [1.5]}


def programs(folder: Path) -> Path:
    """What the suite installs beside its interpreter, for one that has the frameworks and not the suite."""
    for name, module in (("yard-frame", "__main__"), ("yard-probe", "probing")):
        file = folder / name
        file.write_text(PROGRAM.format(python=sys.executable, root=str(ROOT), module=module))
        file.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def ready() -> Iterator[Ready]:
    room = Path(tempfile.mkdtemp(prefix="yard-formats-"))
    try:
        models = {name: trained(name, room / name) for name in MAKERS}
        (room / "bin").mkdir()
        # uv has nothing to resolve with: packages are those of the node's own interpreter.
        environ = {"UV_NO_INDEX": "1", "PATH": f"{programs(room / 'bin')}:{os.environ['PATH']}"}
        trust = ",".join(f"default/{name}" for name, model in models.items() if model.is_pickle)
        with new_yard(is_up=False, agents=1, memory="32Gi", environ=environ) as yard:
            up = yard.up("--models", "--trust", trust)
            assert up.code == 0, f"{up.stderr}\n{yard.logs()}"
            made = Ready(yard, {**models, UNTRUSTED: models["mlflow-python-model"]})
            asyncio.run(made.work())
            yield made
            assert yard.cli("down").code == 0
            assert not yard.left_over(), yard.left_over()
    finally:
        shutil.rmtree(room, ignore_errors=True)


@pytest.mark.parametrize("name", MAKERS)
def test_model_of_each_format_is_ready_and_answers_as_its_library_does(ready: Ready, name: str) -> None:
    """S2.1, S2.5"""
    version = ready.versions[name]
    assert version.state == pb.MODEL_VERSION_STATE_READY, version
    answer = ready.answers[name]
    assert isinstance(answer, Answer), answer
    assert {*answer.outputs} == {*ready.models[name].gives}
    for output, wanted in ready.models[name].gives.items():
        if isinstance(wanted, str):
            assert answer[output] == wanted.encode()
        else:
            np.testing.assert_allclose(answer.outputs[output].array(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MAKERS)
def test_protocol_of_each_format_says_how_it_is_known_and_what_its_environment_has(
    ready: Ready, name: str
) -> None:
    """S2.2, S2.3: what stands in its files is not asked of a run; its example's answer is compared at each load."""
    config, model = ready.configs[name], ready.models[name]
    known = {one.field: one for one in config.provenance}
    wanted = pb.PROVENANCE_PROBED if model.probed else pb.PROVENANCE_INSPECTED
    for side, names in (("inputs", model.takes), ("outputs", model.gives)):
        for one in names:
            assert known[f"{side}[{one}].datatype"].why
    assert {known[f"inputs[{one}].shape"].provenance for one in model.takes} == {wanted}, config.document
    assert config.golden_digest.startswith("sha256:")
    requirements = ready.yard.json("model", "config", "get", name)["document"]
    lines = [line.strip(" -\"'") for line in _requirements(requirements)]
    assert {project(line) for line in lines} - {"xgboost-cpu"} == {*model.needs}, config.document


@pytest.mark.parametrize("name", MAKERS)
def test_call_that_does_not_fit_is_the_callers_mistake_and_says_what_is_wrong(
    ready: Ready, name: str
) -> None:
    error = ready.wrong[name]
    assert isinstance(error, YardError), error
    assert error.code == "INVALID_ARGUMENT" and error.message, error


def test_pickle_inside_of_mlflows_directory_is_opened_only_where_the_server_trusts_it(ready: Ready) -> None:
    """Issue 6, point 7: the same component is READY under a name that the list has."""
    version = ready.versions[UNTRUSTED]
    assert (version.state, version.reason) == (pb.MODEL_VERSION_STATE_FAILED, "PICKLE_NOT_TRUSTED"), version
    shown = ready.yard.cli("model", "get", UNTRUSTED).stdout
    assert f"--trust default/{UNTRUSTED}" in shown and "python_model.pkl" in shown, shown


def test_model_get_explains_what_was_found_in_mlflows_directory(ready: Ready) -> None:
    shown = ready.yard.cli("model", "get", "mlflow-sklearn").stdout
    for words in ("component  mlflow", "takes      input: BYTES 1, as table too", "compared at each load"):
        assert words in shown, shown


def _requirements(document: str) -> list[str]:
    import yaml

    return [str(one) for one in yaml.safe_load(document)["runtime"]["requirements"]]
