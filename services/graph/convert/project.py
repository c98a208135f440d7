"""Projects, versions, problems and changes as messages."""

from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.v1 import canvas_pb2 as pb
from services.graph.canvases.diff import Change
from services.graph.canvases.problems import Problem
from services.graph.imports.report import Finding
from services.graph.model import Role, RoleInvalid
from services.graph.records.projects import Project, Version

_ROLES = {
    Role.VIEWER: pb.PROJECT_ROLE_VIEWER,
    Role.RUNNER: pb.PROJECT_ROLE_RUNNER,
    Role.EDITOR: pb.PROJECT_ROLE_EDITOR,
}


def time_message(time_ms: int) -> Timestamp:
    """A Timestamp of milliseconds since 1970."""
    seconds, milliseconds = divmod(time_ms, 1000)
    return Timestamp(seconds=seconds, nanos=milliseconds * 1_000_000)


def project_message(project: Project) -> pb.Project:
    """The wire form."""
    return pb.Project(
        id=project.id,
        name=project.name,
        account=project.account,
        create_time=time_message(project.create_time_ms),
        latest_version=project.latest_version,
        access=[
            pb.ProjectAccess(account=account, role=_ROLES[role]) for account, role in project.access.items()
        ],
    )


def role_of(number: int) -> Role | None:
    """The role of an enum's number; None for unspecified. Raises RoleInvalid."""
    if not number:
        return None
    for role, value in _ROLES.items():
        if value == number:
            return role
    raise RoleInvalid(field="role")


def version_message(version: Version) -> pb.ProjectVersion:
    """The wire form."""
    return pb.ProjectVersion(
        project_id=version.project_id,
        version=version.version,
        parent=version.parent,
        author=version.author,
        create_time=time_message(version.create_time_ms),
        comment=version.comment,
        digest=version.digest,
        node_count=version.node_count,
        edge_count=version.edge_count,
    )


def problem_message(problem: Problem) -> pb.CanvasProblem:
    """The wire form."""
    return pb.CanvasProblem(
        reason=problem.reason.value,
        message=problem.message,
        node=problem.node,
        port=problem.port,
        edge=problem.edge,
        field=problem.field,
        next_step=problem.next_step,
        nodes=problem.nodes,
    )


def change_message(change: Change) -> pb.CanvasChange:
    """The wire form."""
    return pb.CanvasChange(
        kind=pb.CanvasChangeKind.Value(f"CANVAS_CHANGE_KIND_{change.kind.name}"),
        id=change.id,
        field=change.field,
        before_json=change.before,
        after_json=change.after,
    )


def finding_message(finding: Finding) -> pb.ImportFinding:
    """What an import or export was told of."""
    return pb.ImportFinding(path=finding.path, message=finding.message, node=finding.node)
