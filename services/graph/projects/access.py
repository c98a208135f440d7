"""Who may do what with a project (S1.2). Pure.

The owner may do everything, whom the owner let in what their role says, administrators everything, services what the
account may on whose behalf they come. Who may not even see a project is told that there is none.
"""

from services.chassis.security import ADMIN, Principal
from services.graph.model import ProjectForbidden, Role
from services.graph.records.projects import Project, missing_project

_ROLES = list(Role)
_ALLOWS = {
    Role.VIEWER: "see",
    Role.RUNNER: "run",
    Role.EDITOR: "save",
}


def require_role(caller: Principal, project: Project, role: Role) -> None:
    """Raises ProjectNotFound or ProjectForbidden unless the caller may do what the role may."""
    if caller.role == ADMIN or caller.account == project.account:
        return
    own = project.access.get(caller.account)
    if own is None:
        raise missing_project(project.id)
    if _ROLES.index(own) < _ROLES.index(role):
        raise ProjectForbidden(
            f"account {caller.account} may {_ALLOWS[own]} project {project.id}, not {_ALLOWS[role]} it",
            field="project_id",
            next_step=f"ask {project.account} for the role {role.value}: yard graph share {project.id} …",
            metadata={"role": own.value, "needed": role.value},
        )


def require_owner(caller: Principal, project: Project) -> None:
    """Raises ProjectNotFound or ProjectForbidden unless it is the caller's."""
    if caller.role == ADMIN or caller.account == project.account:
        return
    if caller.account not in project.access:
        raise missing_project(project.id)
    raise ProjectForbidden(
        f"project {project.id} is {project.account}'s", field="project_id",
        next_step=f"ask {project.account} to do it",
    )  # fmt: skip


def sees_all(caller: Principal) -> bool:
    """Whether lists have the projects of everybody."""
    return caller.role == ADMIN
