"""ProjectService: projects, versions, validation."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from google.protobuf.message import Message

from modelyard.v1 import canvas_pb2 as pb
from modelyard.v1 import canvas_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.requests.answers import Answers
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.chassis.security import account_of, principal
from services.graph.canvases import document
from services.graph.canvases.canvas import Canvas
from services.graph.canvases.diff import diff
from services.graph.canvases.hints import hints
from services.graph.canvases.identifiers import is_digest
from services.graph.canvases.problems import Problem, Reason
from services.graph.convert.canvas import canvas_of
from services.graph.convert.canvas_message import canvas_message
from services.graph.convert.execution import graph_message
from services.graph.convert.picture import planned_nodes
from services.graph.convert.project import (
    change_message,
    finding_message,
    problem_message,
    project_message,
    role_of,
    version_message,
)
from services.graph.model import (
    AccountInvalid,
    BundleDigestInvalid,
    CanvasMissing,
    CanvasUnreadable,
    DocumentTooLarge,
    NameInvalid,
    OperatorsUnavailable,
    Order,
    ProjectInUse,
    Role,
    VersionInvalid,
)
from services.graph.projects.access import require_owner, require_role, sees_all
from services.graph.projects.holding import Holding
from services.graph.projects.library import Library, OperatorSource, invalid, unreadable
from services.graph.records.clearing import Clearing
from services.graph.records.projects import Project, Projects, Version, number_of
from services.graph.servicer import exchange

FORMAT = "canvas"
PICTURE = "svg"
NAME_LENGTH = 200
COMMENT_LENGTH = 2_000
MESSAGE_BYTES_MOST = 3_900_000
"""A little below what a message may have."""
_FIRST = 1 << 60
"""Before every position: newer than anything."""

M = TypeVar("M", bound=Message)

IsInUse = Callable[[int], Awaitable[bool]]
"""Whether a run of the project goes on."""


class ProjectServicer(canvas_pb2_grpc.ProjectServiceServicer):
    """Projects of accounts, and what they let others do."""

    def __init__(
        self,
        projects: Projects,
        library: Library,
        source: OperatorSource,
        answers: Answers,
        clock: Clock,
        holding: Holding,
        is_in_use: IsInUse,
        clearing: Clearing,
    ) -> None:
        self._clearing = clearing
        self._projects = projects
        self._library = library
        self._source = source
        self._answers = answers
        self._clock = clock
        self._holding = holding
        self._is_in_use = is_in_use

    async def CreateProject(self, request: pb.CreateProjectRequest, context: Any) -> pb.CreateProjectResponse:
        def answer(project: Project) -> pb.CreateProjectResponse:
            return pb.CreateProjectResponse(project=project_message(project))

        name, account = _name_of(request.name), account_of(principal())
        kept = self._answers.keep(answer)
        return answer(await self._projects.create(account, name, self._clock.now_ms(), kept))

    async def GetProject(self, request: pb.GetProjectRequest, context: Any) -> pb.GetProjectResponse:
        project = await self._project(request.project_id, Role.VIEWER)
        return pb.GetProjectResponse(project=project_message(project))

    async def ListProjects(self, request: pb.ListProjectsRequest, context: Any) -> pb.ListProjectsResponse:
        caller, size = principal(), page_size(request.page_size)
        account = None if sees_all(caller) else account_of(caller)
        filter_key = f"projects {account} {request.name}".encode()
        before = _position(decode_token(request.page_token, filter_key))
        found = await self._projects.page(account, request.name[: NAME_LENGTH + 1], before, size + 1)
        token = encode_token(str(found[size - 1].number), filter_key) if len(found) > size else ""
        return pb.ListProjectsResponse(
            projects=[project_message(project) for project in found[:size]], next_page_token=token
        )

    async def DeleteProject(self, request: pb.DeleteProjectRequest, context: Any) -> pb.DeleteProjectResponse:
        project = await self._projects.get(number_of(request.project_id))
        require_owner(principal(), project)
        if await self._is_in_use(project.number):
            raise ProjectInUse(
                f"a run of {project.id} goes on", field="project_id",
                next_step=f"yard graph runs --project {project.id}; cancel it, or wait for its end",
            )  # fmt: skip
        errands = self._holding.deleted(project.id, project.account)
        kept = self._answers.keep(lambda _: pb.DeleteProjectResponse())
        await self._projects.delete(project.number, self._holding.within(errands, kept))
        self._holding.owe(errands)
        # Its runs follow.
        self._clearing.wake()
        return pb.DeleteProjectResponse()

    async def SetProjectAccess(
        self, request: pb.SetProjectAccessRequest, context: Any
    ) -> pb.SetProjectAccessResponse:
        def answer(project: Project) -> pb.SetProjectAccessResponse:
            return pb.SetProjectAccessResponse(project=project_message(project))

        project = await self._projects.get(number_of(request.project_id))
        require_owner(principal(), project)
        if not 0 < len(request.account) <= 100 or not request.account.isprintable():
            raise AccountInvalid(field="account")
        if request.account == project.account:
            raise AccountInvalid(f"{request.account} owns the project", field="account")
        kept = self._answers.keep(answer)
        role = role_of(request.role)
        return answer(await self._projects.set_access(project.number, request.account, role, kept))

    async def SaveCanvas(self, request: pb.SaveCanvasRequest, context: Any) -> pb.SaveCanvasResponse:
        project = await self._project(request.project_id, Role.EDITOR)
        canvas, malformed = _read(request.canvas if request.HasField("canvas") else None, request.canvas_json)
        if malformed:
            raise unreadable(malformed)

        def saved(version: Version, problems: tuple[Problem, ...]) -> pb.SaveCanvasResponse:
            return pb.SaveCanvasResponse(
                version=version_message(version), problems=_told(problems), hints=_told(hints(canvas))
            )

        return await self.save(
            project, request.parent, canvas, request.comment, saved, must_be_valid=request.must_be_valid
        )

    async def save(
        self,
        project: Project,
        parent: int,
        canvas: Canvas,
        comment: str,
        answer_of: Callable[[Version, tuple[Problem, ...]], M],
        *,
        must_be_valid: bool = False,
    ) -> M:
        """A new version, and what is wrong with it, as the answer that `answer_of` makes of them.

        Raises VersionConflict, CanvasInvalid.
        """
        if len(comment) > COMMENT_LENGTH:
            raise NameInvalid(f"a comment has at most {COMMENT_LENGTH} characters", field="comment")
        now_ms = self._clock.now_ms()
        draft = await self._projects.draft(project.number, parent, canvas, now_ms)
        _require_size(
            len(draft.document), "saved", "divide it into several projects, or use a map instead of copies"
        )
        problems = await self._problems(draft.canvas, draft.digest, must_answer=must_be_valid)
        if problems and must_be_valid:
            raise invalid(problems)

        def answer(version: Version) -> M:
            return answer_of(version, problems)

        account = principal().account or project.account
        errands = self._holding.saved(project.id, account, draft.canvas)
        kept = self._holding.within(errands, self._answers.keep(answer))
        version = await self._projects.save(draft, principal().account, comment, now_ms, kept)
        self._holding.owe(errands)
        self._library.learn(draft.canvas, draft.digest)
        return answer(version)

    async def _problems(self, canvas: Canvas, digest: str, *, must_answer: bool) -> tuple[Problem, ...]:
        try:
            return (await self._library.judge(canvas, digest)).problems
        except OperatorsUnavailable as error:
            if must_answer:
                raise
            return (Problem(Reason.OPERATORS_UNKNOWN, error.message, next_step=error.next_step),)

    async def GetCanvas(self, request: pb.GetCanvasRequest, context: Any) -> pb.GetCanvasResponse:
        project = await self._project(request.project_id, Role.VIEWER)
        version = await self._version(project, request.version)
        answer = pb.GetCanvasResponse(version=version_message(version))
        view = request.view
        if view in (pb.CANVAS_VIEW_UNSPECIFIED, pb.CANVAS_VIEW_DOCUMENT):
            text = await self._projects.document(version)
            _require_size(len(text), "given back", "yard backup has it; save less in one project")
            answer.canvas_json = text.decode()
        if view in (pb.CANVAS_VIEW_UNSPECIFIED, pb.CANVAS_VIEW_MESSAGE):
            message = canvas_message(await self._library.canvas(version))
            if view == pb.CANVAS_VIEW_MESSAGE:
                _require_size(message.ByteSize(), "given back", "ask for CANVAS_VIEW_DOCUMENT")
            if view == pb.CANVAS_VIEW_MESSAGE or answer.ByteSize() + message.ByteSize() <= MESSAGE_BYTES_MOST:
                answer.canvas.CopyFrom(message)
        return answer

    async def ListVersions(self, request: pb.ListVersionsRequest, context: Any) -> pb.ListVersionsResponse:
        project, size = await self._project(request.project_id, Role.VIEWER), page_size(request.page_size)
        filter_key = f"versions {project.id}".encode()
        before = _position(decode_token(request.page_token, filter_key))
        found = await self._projects.versions(project.number, before, size + 1)
        token = encode_token(str(found[size - 1].version), filter_key) if len(found) > size else ""
        return pb.ListVersionsResponse(
            versions=[version_message(version) for version in found[:size]], next_page_token=token
        )

    async def DiffVersions(self, request: pb.DiffVersionsRequest, context: Any) -> pb.DiffVersionsResponse:
        project = await self._project(request.project_id, Role.VIEWER)
        after = await self._version(project, request.to_version, "to_version")
        if request.from_version < 0:
            raise VersionInvalid(field="from_version")
        before = Canvas()
        if request.from_version:
            before = await self._library.canvas(
                await self._version(project, request.from_version, "from_version")
            )
        answer, size = pb.DiffVersionsResponse(), 0
        for change in diff(before, await self._library.canvas(after)):
            message = change_message(change)
            size += message.ByteSize() + 8
            if size > MESSAGE_BYTES_MOST:
                break
            answer.changes.append(message)
        return answer

    async def ValidateCanvas(
        self, request: pb.ValidateCanvasRequest, context: Any
    ) -> pb.ValidateCanvasResponse:
        given = request.canvas if request.HasField("canvas") else None
        malformed: tuple[Problem, ...] = ()
        digest = ""
        if given is None and not request.canvas_json:
            project = await self._project(request.project_id, Role.VIEWER)
            version = await self._version(project, request.version)
            canvas, digest = await self._library.canvas(version), version.digest
        else:
            canvas, malformed = _read(given, request.canvas_json)
        verdict = await self._library.judge(canvas, digest)
        problems = (*malformed, *verdict.problems)
        if problems:
            return pb.ValidateCanvasResponse(problems=_told(problems), hints=_told(hints(canvas)))
        graph = await self._library.planned(canvas, verdict, Order.LEVELS)
        message = graph_message(graph, await self._source.operators())
        fits = message.ByteSize() <= MESSAGE_BYTES_MOST
        return pb.ValidateCanvasResponse(
            graph=message if fits else None, was_known=verdict.was_known, node_count=len(graph.nodes),
            hints=_told(hints(canvas)),
        )  # fmt: skip

    async def ImportCanvas(self, request: pb.ImportCanvasRequest, context: Any) -> pb.ImportCanvasResponse:
        project = await self._project(request.project_id, Role.EDITOR) if request.project_id else None
        imported = await exchange.read(
            request.document,
            request.format,
            await self._source.operators(),
            _bundle_of(request.bundle_digest),
        )
        answer = pb.ImportCanvasResponse(
            format=imported.format,
            findings=[finding_message(finding) for finding in imported.findings],
            canvas_json=document.write(imported.canvas).decode(),
            hints=_told(hints(imported.canvas)),
            bundle_needs=[pb.BundleNeed(node=need.place, files=need.files) for need in imported.needs],
        )
        _require_size(
            answer.ByteSize(), "imported", "divide the document, or leave out what it was measured with"
        )
        message = canvas_message(imported.canvas)
        if answer.ByteSize() + message.ByteSize() <= MESSAGE_BYTES_MOST:
            answer.canvas.CopyFrom(message)
        if project is None:
            return answer

        def saved(version: Version, problems: tuple[Problem, ...]) -> pb.ImportCanvasResponse:
            told = pb.ImportCanvasResponse()
            told.CopyFrom(answer)
            told.version.CopyFrom(version_message(version))
            told.problems.extend(_told(problems))
            return told

        comment = f"imported from {imported.format}"
        return await self.save(project, request.parent, imported.canvas, comment, saved)

    async def ExportCanvas(self, request: pb.ExportCanvasRequest, context: Any) -> pb.ExportCanvasResponse:
        project = await self._project(request.project_id, Role.VIEWER)
        version = await self._version(project, request.version)
        if request.format in ("", FORMAT):
            text = await self._projects.document(version)
            _require_size(len(text), "exported", "yard backup has it; save less in one project")
            return pb.ExportCanvasResponse(document=text)
        canvas = await self._library.canvas(version)
        if request.format == PICTURE:
            graph = await self._library.graph(canvas, Order.LEVELS, version.digest)
            title = f"{project.name}, version {version.version}"
            return pb.ExportCanvasResponse(document=await exchange.picture(title, planned_nodes(graph)))
        text, findings = await exchange.write(canvas, request.format, await self._source.operators())
        _require_size(len(text), f"exported as {request.format}", "export it as canvas: that is shorter")
        return pb.ExportCanvasResponse(document=text, findings=[finding_message(each) for each in findings])

    async def _project(self, project_id: str, role: Role) -> Project:
        project = await self._projects.get(number_of(project_id))
        require_role(principal(), project, role)
        return project

    async def _version(self, project: Project, version: int, field: str = "version") -> Version:
        if not 0 <= version < _FIRST:
            raise VersionInvalid(field=field)
        return await self._projects.version(project, version)


def _told(problems: Iterable[Problem]) -> list[pb.CanvasProblem]:
    return [problem_message(problem) for problem in problems]


def _read(message: pb.Canvas | None, text: str) -> tuple[Canvas, tuple[Problem, ...]]:
    """The canvas of a request, in one of its two forms. Raises CanvasMissing, CanvasUnreadable."""
    if (message is None) == (not text):
        raise CanvasMissing(field="canvas", next_step="set canvas or canvas_json")
    if message is not None:
        return canvas_of(message)
    try:
        return document.read(text)
    except document.DocumentUnreadable as error:
        raise CanvasUnreadable(str(error), field="canvas_json") from error


def _require_size(size: int, what: str, next_step: str) -> None:
    """Raises DocumentTooLarge for what no answer can hold: what is saved can be read again."""
    if size > MESSAGE_BYTES_MOST:
        raise DocumentTooLarge(
            f"{what}, the canvas has {size / 1e6:.1f} MB, and {MESSAGE_BYTES_MOST / 1e6:.1f} MB are the most",
            field="canvas", next_step=next_step,
        )  # fmt: skip


def _bundle_of(digest: str) -> str:
    """A digest of an artefact, or "". Raises BundleDigestInvalid."""
    if digest and not is_digest(digest):
        raise BundleDigestInvalid(field="bundle_digest", next_step="yard artifacts put DIRECTORY prints it")
    return digest


def _name_of(text: str) -> str:
    if not 0 < len(text) <= NAME_LENGTH or not text.isprintable() or text != text.strip():
        raise NameInvalid(field="name")
    return text


def _position(cursor: str) -> int:
    """The number that a page ended with; the empty cursor is before everything."""
    return int(cursor) if cursor.isascii() and cursor.isdecimal() and len(cursor) < 18 else _FIRST
