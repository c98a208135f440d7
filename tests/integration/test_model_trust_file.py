"""The list of trust takes effect in a running service, and a wrong one does not (S2, safety)."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.v1 import model_pb2 as pb
from tests.support.models_yard import ModelsYard, models_yard
from tests.support.wait import wait_until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(90)]


def write(state: Path, text: str) -> None:
    path = state / "models" / "trust"
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    new.replace(path)


async def opened_by(yard: ModelsYard) -> str:
    request = pb.GetModelVersionRequest(model="iris", version="1")
    return (await yard.admin.models.GetModelVersion(request)).version.trust.opened_by


async def test_list_counts_without_a_restart_and_a_wrong_one_leaves_it(tmp_path: Path) -> None:
    async with models_yard(tmp_path) as yard:
        await yard.create()
        await yard.prove()
        served = yard.service._catalogue.served("iris", "1")
        yard.service._frames.engine.known.note(served)
        assert await opened_by(yard) == "" and not served.may_unpickle
        write(tmp_path, "default/iris  # looked at by us\n")
        await wait_until(lambda: yard.service._engine.state.trusted.opened, "the new list", timeout_s=30)
        assert await opened_by(yard) == "default/iris"
        again = yard.service._frames.engine.known.of(served.key)
        assert again is not None and again.may_unpickle
        write(tmp_path, "default/iris\n*\n")
        await wait_until(lambda: yard.service._trust.refusal, "the refusal", timeout_s=30)
        assert await opened_by(yard) == "default/iris"
        [gauge] = [one for one in await yard.service.figures() if one.name == "yard_models_trust_refused"]
        assert [value for _, value in gauge.samples] == [1]
