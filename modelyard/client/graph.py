"""`client.projects`: canvases, their versions, what is wrong with them and what they come to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from modelyard.client.connection import Connection, new_request_id
from modelyard.client.specs import InvalidSpecification
from modelyard.v1 import canvas_pb2, canvas_pb2_grpc

Document = str | bytes | Mapping[str, Any]
"""A canvas as a JSON text or as the object that it stands for."""

ROLES = {
    "none": canvas_pb2.PROJECT_ROLE_UNSPECIFIED,
    "viewer": canvas_pb2.PROJECT_ROLE_VIEWER,
    "runner": canvas_pb2.PROJECT_ROLE_RUNNER,
    "editor": canvas_pb2.PROJECT_ROLE_EDITOR,
}


class Projects:
    """Projects keep versions of canvases; each version stays as it is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _stub(self) -> canvas_pb2_grpc.ProjectServiceAsyncStub:
        return canvas_pb2_grpc.ProjectServiceStub(self._connection.graph())

    async def create(self, name: str) -> canvas_pb2.Project:
        """Makes a project without versions."""
        request = canvas_pb2.CreateProjectRequest(request_id=new_request_id(), name=name)
        return (await self._connection.unary(self._stub.CreateProject, request)).project

    async def get(self, project: str) -> canvas_pb2.Project:
        """One project by its id."""
        request = canvas_pb2.GetProjectRequest(project_id=project)
        return (await self._connection.unary(self._stub.GetProject, request)).project

    async def find(self, name: str) -> canvas_pb2.Project | None:
        """A project by its name; None: there is none, or the name is that of several."""
        found = (await self.list(name=name)).projects
        return found[0] if len(found) == 1 else None

    async def list(
        self, *, name: str = "", page_size: int = 0, page_token: str = ""
    ) -> canvas_pb2.ListProjectsResponse:
        """One page of projects, newest first: your own, and those that you were let into."""
        request = canvas_pb2.ListProjectsRequest(name=name, page_size=page_size, page_token=page_token)
        return await self._connection.unary(self._stub.ListProjects, request)

    async def remove(self, project: str) -> None:
        """Deletes a project with all of its versions. Refused while one of its runs goes on."""
        request = canvas_pb2.DeleteProjectRequest(request_id=new_request_id(), project_id=project)
        await self._connection.unary(self._stub.DeleteProject, request)

    async def share(self, project: str, account: str, role: str) -> canvas_pb2.Project:
        """Lets an account in as "viewer", "runner" or "editor", or ("none") out."""
        if role not in ROLES:
            raise InvalidSpecification(f"{role!r} is no role; choose {', '.join(ROLES)}", "role")
        request = canvas_pb2.SetProjectAccessRequest(
            request_id=new_request_id(), project_id=project, account=account, role=ROLES[role]
        )
        return (await self._connection.unary(self._stub.SetProjectAccess, request)).project

    async def save(
        self,
        project: str,
        canvas: Document,
        *,
        parent: int = 0,
        comment: str = "",
        must_be_valid: bool = False,
    ) -> canvas_pb2.SaveCanvasResponse:
        """A new version on ``parent``, which has to be the latest (ABORTED otherwise); what is wrong with it too."""
        request = canvas_pb2.SaveCanvasRequest(
            request_id=new_request_id(), project_id=project, parent=parent, canvas_json=_text(canvas),
            comment=comment, must_be_valid=must_be_valid,
        )  # fmt: skip
        return await self._connection.unary(self._stub.SaveCanvas, request)

    async def canvas(self, project: str, version: int = 0) -> canvas_pb2.GetCanvasResponse:
        """The document of a version as it was saved; 0: the latest."""
        request = canvas_pb2.GetCanvasRequest(
            project_id=project, version=version, view=canvas_pb2.CANVAS_VIEW_DOCUMENT
        )
        return await self._connection.unary(self._stub.GetCanvas, request)

    async def versions(
        self, project: str, *, page_size: int = 0, page_token: str = ""
    ) -> canvas_pb2.ListVersionsResponse:
        """One page of versions, newest first."""
        request = canvas_pb2.ListVersionsRequest(
            project_id=project, page_size=page_size, page_token=page_token
        )
        return await self._connection.unary(self._stub.ListVersions, request)

    async def diff(
        self, project: str, from_version: int, to_version: int = 0
    ) -> canvas_pb2.DiffVersionsResponse:
        """What changed from one version to another; 0: to the latest."""
        request = canvas_pb2.DiffVersionsRequest(
            project_id=project, from_version=from_version, to_version=to_version
        )
        return await self._connection.unary(self._stub.DiffVersions, request)

    async def validate(
        self, project: str = "", version: int = 0, *, canvas: Document = ""
    ) -> canvas_pb2.ValidateCanvasResponse:
        """Everything that is wrong with a version, or with a canvas that was not saved; and what it comes to."""
        request = canvas_pb2.ValidateCanvasRequest(
            project_id=project, version=version, canvas_json=_text(canvas) if canvas else ""
        )
        return await self._connection.unary(self._stub.ValidateCanvas, request)

    async def import_(
        self,
        document: bytes,
        *,
        format: str = "",
        project: str = "",
        parent: int = 0,
        bundle_digest: str = "",
    ) -> canvas_pb2.ImportCanvasResponse:
        """The canvas of another tool's document, and what of it was not understood; with a project it is saved on
        ``parent`` as a new version. Without a format that is found out. The bundle (``artifacts.bundle``) is given to
        the nodes that need the files of the document's directory; ``bundle_needs`` says which."""
        request = canvas_pb2.ImportCanvasRequest(
            request_id=new_request_id(), project_id=project, parent=parent, format=format, document=document,
            bundle_digest=bundle_digest,
        )  # fmt: skip
        return await self._connection.unary(self._stub.ImportCanvas, request)

    async def export(
        self, project: str, version: int = 0, *, format: str = ""
    ) -> canvas_pb2.ExportCanvasResponse:
        """A version as a document of another tool, or ("svg") as a picture; and what that form cannot say."""
        request = canvas_pb2.ExportCanvasRequest(project_id=project, version=version, format=format)
        return await self._connection.unary(self._stub.ExportCanvas, request)


def _text(canvas: Document) -> str:
    if isinstance(canvas, bytes):
        return canvas.decode()
    return canvas if isinstance(canvas, str) else json.dumps(canvas)
