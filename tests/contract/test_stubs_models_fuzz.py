"""Every RPC of the catalogue with boundary values: never UNKNOWN or INTERNAL, always in words, nothing lost."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from modelyard.v1 import model_pb2 as pb
from services.models.catalogue import component, describing
from tests.support.endings import NEVER, ending_of
from tests.support.models_yard import models_yard
from tests.support.mutations import mutate
from tests.support.scheduler_service import refusal

METHODS: list[MethodDescriptor] = [
    method
    for name in ("ModelService", "ModelQuotaService")
    for method in pb.DESCRIPTOR.services_by_name[name].methods
]
MUTATIONS = 40
TEXTS = (
    "",
    "kind: Model",
    "{}",
    "- 1",
    "kind: [",
    "\0",
    "a: &a [*a]",
    "x" * 100_000,
    "[" * 5_000,
    "inputs: [{name: x}]",
)
LATER = 1 << 62


def made(method: MethodDescriptor, chance: random.Random, file: pb.ComponentFile) -> Message:
    """A request; most name a model that is there."""
    request: Any = message_factory.GetMessageClass(method.input_type)()
    mutate(request, chance)
    fields = request.DESCRIPTOR.fields_by_name
    for field in ("model", "name"):
        if field in fields and chance.random() < 0.8:
            setattr(request, field, chance.choice(("iris", "wine", "../iris", "")))
    if "version" in fields and chance.random() < 0.7:
        value = chance.choice((0, 1, 2, -1, LATER))
        is_text = fields["version"].type == fields["version"].TYPE_STRING
        request.version = str(value) if is_text else value
    if "files" in fields and chance.random() < 0.7:
        del request.files[:]
        request.files.append(file)
    for field in ("document", "config"):
        if field in fields and chance.random() < 0.8:
            setattr(request, field, chance.choice(TEXTS))
    if "request_id" in fields and chance.random() < 0.8:
        request.request_id = ""
    return request


@pytest.mark.asyncio
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_rpc_of_the_catalogue_with_boundary_values_is_refused_in_words_and_loses_nothing(
    method: MethodDescriptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # There is no agent that would look at a component.
    monkeypatch.setattr(describing, "WAIT_S", 0)
    chance = random.Random(method.name)
    async with models_yard(tmp_path) as yard:
        kept = await yard.create("kept")
        await yard.create()
        await yard.prove()
        file, other = await yard.file(b"other"), await yard.user("ada")
        for number in range(MUTATIONS):
            request = made(method, chance, file)
            client = other if number % 4 == 0 else yard.admin
            code, message = await ending_of(client.channel, method, request)
            assert code not in NEVER, f"{code.name} {message} for {str(request)[:2_000]}"
            assert code is grpc.StatusCode.OK or message
        await yard.restart()
        found = (await yard.admin.models.GetModelVersion(pb.GetModelVersionRequest(model="kept"))).version
        assert (found.component, found.state) == (kept.component, pb.MODEL_VERSION_STATE_INSPECTING)


FILE = "the file that is there"
"""In requests: its digest stands here once it is known."""


def version(**fields: Any) -> pb.CreateModelVersionRequest:
    return pb.CreateModelVersionRequest(**({"model": "m", "files": at("model.onnx")} | fields))


def at(path: str, digest: str = FILE) -> list[pb.ComponentFile]:
    return [pb.ComponentFile(path=path, digest=digest)]


alias, access, watch = pb.SetAliasRequest, pb.UpdateModelRequest, pb.WatchModelVersionRequest
many = [one for number in range(component.FILES_MOST + 1) for one in at(f"f{number}")]
odd = pb.ModelAccess(account="a", role=9)  # type: ignore[arg-type]
MEANINGLESS: list[tuple[str, Any, str]] = [
    ("CreateModelVersion", version(model="../m"), "MODEL_NAME_INVALID"),
    ("CreateModelVersion", version(model="m" * 101), "MODEL_NAME_INVALID"),
    ("CreateModelVersion", version(model=""), "MODEL_NAME_INVALID"),
    ("CreateModelVersion", version(files=[]), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("../../etc/passwd")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("/etc/passwd")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("a//b")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("a\nb")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("a\\b")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("x" * 2_000)), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("a") + at("a")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("a") + at("a/b")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("a/b") + at("a")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("a/") + at("a/b")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("a") + at("a/")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("./") + at("a")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("a") + at("./")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at(".//")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("../")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("/")), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("a", "0" * 63)), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(files=at("a", "0" * 64)), "COMPONENT_FILE_MISSING"),
    ("CreateModelVersion", version(files=many), "COMPONENT_INVALID"),
    ("CreateModelVersion", version(config="x" * (1 << 20)), "CONFIG_INVALID"),
    ("CreateModelVersion", version(config="speed: 5"), "CONFIG_INVALID"),
    ("CreateModelVersion", version(config="name: other"), "CONFIG_INVALID"),
    ("CreateModelVersion", version(labels={"a b": "c"}), "LABELS_INVALID"),
    ("CreateModelVersion", version(labels={"a": "c" * 300}), "LABELS_INVALID"),
    ("CreateModelVersion", version(summary="x" * 3_000), "TEXT_TOO_LONG"),
    ("CreateModelVersion", version(lineage=pb.Lineage(job_id="seven")), "LINEAGE_INVALID"),
    ("CreateModelVersion", version(lineage=pb.Lineage(task_id="t-999")), "ORIGIN_UNKNOWN"),
    ("GetModel", pb.GetModelRequest(name="nothing"), "MODEL_NOT_FOUND"),
    ("GetModelVersion", pb.GetModelVersionRequest(model="iris", version="9"), "MODEL_VERSION_NOT_FOUND"),
    ("GetModelVersion", pb.GetModelVersionRequest(model="iris", version="x"), "MODEL_VERSION_NOT_FOUND"),
    ("GetModelConfig", pb.GetModelConfigRequest(model="iris", revision=7), "CONFIG_NOT_FOUND"),
    ("GetModelConfig", pb.GetModelConfigRequest(model="iris", revision=-7), "CONFIG_NOT_FOUND"),
    ("ListModels", pb.ListModelsRequest(page_token="odd"), "PAGE_TOKEN_INVALID"),
    ("ListModels", pb.ListModelsRequest(page_size=-1), "PAGE_SIZE_NEGATIVE"),
    ("ListModelVersions", pb.ListModelVersionsRequest(model="iris", states=[99]), "MODEL_STATE_UNKNOWN"),
    ("WatchModelVersion", watch(model="iris", revision=LATER), "MODEL_REVISION_UNKNOWN"),
    ("WatchModelVersion", watch(model="iris", revision=-1), "MODEL_REVISION_UNKNOWN"),
    ("SetAlias", alias(model="iris", alias="7", version=1), "ALIAS_INVALID"),
    ("SetAlias", alias(model="iris", alias="a b", version=1), "ALIAS_INVALID"),
    ("SetAlias", alias(model="iris", alias="a", version=2), "MODEL_VERSION_NOT_FOUND"),
    ("SetAlias", alias(model="iris", alias="a", version=1, from_version=3), "ALIAS_STALE"),
    ("DeleteAlias", pb.DeleteAliasRequest(model="iris", alias="a"), "MODEL_VERSION_NOT_FOUND"),
    ("DeleteModelVersion", pb.DeleteModelVersionRequest(model="iris"), "MODEL_VERSION_NOT_FOUND"),
    ("UpdateModel", access(name="iris", revision=99), "MODEL_STALE"),
    ("UpdateModel", access(name="iris", access=[odd]), "MODEL_ROLE_UNKNOWN"),
    ("UpdateModel", access(name="iris", access=[pb.ModelAccess(role=1)]), "ACCESS_INVALID"),
    ("UpdateModelConfig", pb.UpdateModelConfigRequest(model="iris", document="a: ["), "CONFIG_INVALID"),
    ("ListModelUsage", pb.ListModelUsageRequest(model="iris", days=-1), "DAYS_INVALID"),
]  # fmt: skip
"""RPC, request, reason of the refusal."""


@pytest.mark.asyncio
async def test_what_has_no_meaning_is_refused_by_its_name(tmp_path: Path) -> None:
    async with models_yard(tmp_path) as yard:
        await yard.create()
        await yard.prove()
        file = await yard.file()
        for rpc, request, reason in MEANINGLESS:
            for one in getattr(request, "files", ()):
                one.digest = file.digest if one.digest == FILE else one.digest
            found = await asyncio.wait_for(refusal(getattr(yard.admin.models, rpc)(request)), 20)
            assert (found.reason, bool(found.message)) == (reason, True), f"{rpc}: {reason}: {found}"


@pytest.mark.asyncio
async def test_wrong_model_yaml_is_told_with_line_and_column_of_each_mistake(tmp_path: Path) -> None:  # S2.3
    async with models_yard(tmp_path) as yard:
        await yard.create()
        await yard.prove()
        document = "serving:\n  deadline: soon\n  speed: 5\nruntime: {python: two}\n"
        request = pb.UpdateModelConfigRequest(model="iris", document=document)
        found = await refusal(yard.admin.models.UpdateModelConfig(request))
        assert (found.reason, found.field) == ("CONFIG_INVALID", "document")
        assert [line.split(" ")[0] for line in found.message.splitlines()] == ["2:13", "3:3", "4:19"]
