"""`client.models`: the catalogue of models, from a trained file to a version that is READY."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from modelyard.client.artifacts import Artifacts
from modelyard.client.calling import Calling
from modelyard.client.components import uploaded
from modelyard.client.connection import Connection, new_request_id
from modelyard.client.model_quotas import ModelQuotas
from modelyard.v1 import model_pb2 as pb
from modelyard.v1 import model_pb2_grpc

PAGE = 500
ROLES = {
    "viewer": pb.MODEL_ROLE_VIEWER,
    "caller": pb.MODEL_ROLE_CALLER,
    "manager": pb.MODEL_ROLE_MANAGER,
    "none": pb.MODEL_ROLE_UNSPECIFIED,
}


class Models(Calling, ModelQuotas):
    """Models, their versions and how each is configured. ``version`` is a number, an alias, or "" for the one that is
    called where none is named: champion, else the latest that is READY."""

    def __init__(self, connection: Connection, artifacts: Artifacts) -> None:
        self._connection = connection
        self._artifacts = artifacts

    @cached_property
    def _stub(self) -> model_pb2_grpc.ModelServiceAsyncStub:
        return model_pb2_grpc.ModelServiceStub(self._connection.models())

    async def push(
        self,
        source: str | Path,
        *,
        name: str = "",
        config: str = "",
        labels: Mapping[str, str] | None = None,
        summary: str = "",
        job: str = "",
        run: str = "",
        task: str = "",
        part: str = "",
        parent: str = "",
        request_id: str = "",
    ) -> pb.CreateModelVersionResponse:
        """A trained file, or a directory with one, becomes the next version of its model; name: the file's without its
        ending. The answer means that it is on disk; `settled` tells what became of it. The same once more as the
        latest version makes no new one. What exceeds the account's quota is refused before it is sent.

        ``config``: a model.yaml with any part of its fields. ``job``, ``run``, ``task``: what made it.
        """
        source, name = Path(source), name or name_of(Path(source))
        await self.check_room(name, source)
        request = pb.CreateModelVersionRequest(
            request_id=request_id or new_request_id(), model=name, config=config,
            labels=labels or {}, summary=summary,
            lineage=pb.Lineage(job_id=job, run_id=run, task_id=task, part=part, parent=parent),
            files=await uploaded(self._artifacts, source),
        )  # fmt: skip
        return await self._connection.unary(self._stub.CreateModelVersion, request)

    async def describe(self, source: str | Path, config: str = "") -> pb.DescribeComponentResponse:
        """What would be found out of a component, by a task on an agent; nothing is kept."""
        files = await uploaded(self._artifacts, Path(source))
        request = pb.DescribeComponentRequest(files=files, config=config)
        return await self._connection.unary(self._stub.DescribeComponent, request)

    async def get(self, model: str) -> pb.Model:
        """A model with its aliases and who may do what with it."""
        return (await self._connection.unary(self._stub.GetModel, pb.GetModelRequest(name=model))).model

    async def list(
        self,
        page_size: int = 0,
        page_token: str = "",
        *,
        prefix: str = "",
        labels: Mapping[str, str] | None = None,
        all_accounts: bool = False,
    ) -> pb.ListModelsResponse:
        """One page of the models that the caller may see, by name."""
        request = pb.ListModelsRequest(
            page_size=page_size, page_token=page_token, name_prefix=prefix, labels=labels or {},
            all_accounts=all_accounts,
        )  # fmt: skip
        return await self._connection.unary(self._stub.ListModels, request)

    async def version(self, model: str, version: str | int = "") -> pb.ModelVersion:
        """A version as it is now."""
        request = pb.GetModelVersionRequest(model=model, version=str(version))
        return (await self._connection.unary(self._stub.GetModelVersion, request)).version

    async def versions(self, model: str, most: int = 0) -> Sequence[pb.ModelVersion]:
        """Newest first; ``most``: no more than so many."""
        found: list[pb.ModelVersion] = []
        request = pb.ListModelVersionsRequest(model=model, page_size=most or PAGE)
        while True:
            answer = await self._connection.unary(self._stub.ListModelVersions, request)
            found += answer.versions
            request.page_token = answer.next_page_token
            if not request.page_token or (most and len(found) >= most):
                return tuple(found[: most or None])

    async def watch(
        self, model: str, version: int, revision: int = 0
    ) -> AsyncGenerator[pb.ModelVersion, None]:
        """Every change of a version until nothing is done for it any more, over restarts of the service too."""
        position = revision

        def begin() -> Any:
            request = pb.WatchModelVersionRequest(model=model, version=version, revision=position)
            return self._stub.WatchModelVersion(request)

        async for response in self._connection.stream(begin):
            position = response.version.revision
            yield response.version

    async def settled(self, model: str, version: int) -> pb.ModelVersion:
        """The version once it is READY, or will not be without its owner."""
        async for _ in self.watch(model, version):
            pass
        return await self.version(model, version)

    async def update(
        self,
        model: str,
        *,
        summary: str | None = None,
        labels: Mapping[str, str] | None = None,
        access: Mapping[str, str] | None = None,
        revision: int = 0,
        request_id: str = "",
    ) -> pb.Model:
        """Changes what is said of a model. ``labels``: laid over the present ones, "" takes one away; ``access``: by
        account (* for all) viewer, caller, manager or none."""
        request = pb.UpdateModelRequest(
            request_id=request_id or new_request_id(), name=model, revision=revision, labels=labels or {},
            access=[pb.ModelAccess(account=one, role=ROLES[role]) for one, role in (access or {}).items()],
        )  # fmt: skip
        if summary is not None:
            request.summary = summary
        return (await self._connection.unary(self._stub.UpdateModel, request)).model

    async def remove(self, model: str, version: int, *, request_id: str = "") -> None:
        """A version goes; refused while an alias or a deployment names it. Its number is never given again."""
        request = pb.DeleteModelVersionRequest(
            request_id=request_id or new_request_id(), model=model, version=version
        )
        await self._connection.unary(self._stub.DeleteModelVersion, request)

    async def config(self, model: str, version: str | int = "", revision: int = 0) -> pb.ModelConfigRevision:
        """A revision of a version's model.yaml; 0: the one that serves, else the latest."""
        request = pb.GetModelConfigRequest(model=model, version=str(version), revision=revision)
        return (await self._connection.unary(self._stub.GetModelConfig, request)).config

    async def put_config(
        self,
        model: str,
        version: int,
        document: str,
        *,
        revision: int = 0,
        validate_only: bool = False,
        request_id: str = "",
    ) -> pb.ModelConfigRevision:
        """An edited model.yaml becomes the next revision, and is proved by a run; the one before serves meanwhile.
        ``revision``: the one that it was made of; ABORTED where there is a newer one."""
        request = pb.UpdateModelConfigRequest(
            request_id=request_id or new_request_id(), model=model, version=version, document=document,
            revision=revision, validate_only=validate_only,
        )  # fmt: skip
        return (await self._connection.unary(self._stub.UpdateModelConfig, request)).config

    async def set_alias(
        self,
        model: str,
        alias: str,
        version: int,
        *,
        from_version: int = 0,
        comment: str = "",
        request_id: str = "",
    ) -> pb.Model:
        """Points a name at a version that is READY. ``from_version``: what it points to now, 0: anything."""
        request = pb.SetAliasRequest(
            request_id=request_id or new_request_id(), model=model, alias=alias, version=version,
            from_version=from_version, comment=comment,
        )  # fmt: skip
        return (await self._connection.unary(self._stub.SetAlias, request)).model

    async def delete_alias(
        self, model: str, alias: str, *, comment: str = "", request_id: str = ""
    ) -> pb.Model:
        """A name goes; its history stays."""
        request = pb.DeleteAliasRequest(
            request_id=request_id or new_request_id(), model=model, alias=alias, comment=comment
        )
        return (await self._connection.unary(self._stub.DeleteAlias, request)).model

    async def history(
        self, model: str, alias: str = "", page_size: int = 0, page_token: str = ""
    ) -> pb.ListAliasHistoryResponse:
        """One page of what aliases pointed to, newest first."""
        request = pb.ListAliasHistoryRequest(
            model=model, alias=alias, page_size=page_size, page_token=page_token
        )
        return await self._connection.unary(self._stub.ListAliasHistory, request)

    async def usage(self, model: str, version: int = 0, days: int = 0) -> Sequence[pb.ModelUsage]:
        """Who called which version how often, by day, latest first."""
        request = pb.ListModelUsageRequest(model=model, version=version, days=days)
        return (await self._connection.unary(self._stub.ListModelUsage, request)).usage


def name_of(source: Path) -> str:
    """What a model is called whose name nobody says: its file, without its ending."""
    source = source.resolve()
    return source.name if source.is_dir() else source.name.removesuffix(source.suffix)


def reference(text: str) -> tuple[str, str]:
    """Model and version of "iris", "iris:3" or "iris:champion"."""
    model, _, version = text.partition(":")
    return model, version
