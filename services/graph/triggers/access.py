"""Which trigger or back-fill is meant, and who may do what with it.

Who may run the project makes and fires triggers; their owner and the project's change them; who may see the project
sees them. Who may not see one is told that there is none.
"""

from __future__ import annotations

import re

from services.chassis.security import ADMIN, USER, Principal, account_of, principal
from services.graph.model import ProjectForbidden, ProjectNotFound, Role
from services.graph.projects.access import require_role
from services.graph.records.projects import Project, Projects
from services.graph.triggers.model import (
    Backfill,
    BackfillNotFound,
    RunTrigger,
    TriggerForbidden,
    TriggerNotFound,
)
from services.graph.triggers.rows import missing
from services.graph.triggers.store import TriggerStore

_ID = re.compile(r"(tr|b)-([0-9]{1,15})")


class TriggerAccess:
    """Asked by the servicer, for the principal of the call."""

    def __init__(self, store: TriggerStore, projects: Projects) -> None:
        self._store = store
        self._projects = projects

    async def find(self, name: str) -> RunTrigger:
        """By id or by the caller's own name. Raises TriggerNotFound to who may not see it."""
        caller, match = principal(), _ID.fullmatch(name)
        if match is not None and match[1] == "tr":
            number: int | None = int(match[2])
        else:
            number = await self._store.number_of(account_of(caller), name)
        if number is None:
            raise missing(name)
        trigger = await self._store.get(number)
        if caller.role != ADMIN and caller.account != trigger.account:
            try:
                require_role(caller, await self._projects.get(trigger.project), Role.VIEWER)
            except ProjectNotFound as error:
                raise missing(name) from error
        return trigger

    async def find_backfill(self, name: str) -> tuple[Backfill, RunTrigger]:
        """By id. Raises BackfillNotFound to who may not see its trigger."""
        match = _ID.fullmatch(name)
        found = (
            await self._store.backfills.get(int(match[2])) if match is not None and match[1] == "b" else None
        )
        if found is not None:
            try:
                return found, await self.find(f"tr-{found.trigger}")
            except TriggerNotFound:
                pass
        raise BackfillNotFound(
            f"there is no back-fill {name[:40]!r}, or it is not yours to see", field="backfill_id",
            next_step="yard trigger backfills shows yours",
        )  # fmt: skip

    async def require_runner(self, trigger: RunTrigger) -> Project:
        project = await self._projects.get(trigger.project)
        require_role(principal(), project, Role.RUNNER)
        return project

    async def require_manager(self, trigger: RunTrigger) -> None:
        caller = principal()
        if caller.role == ADMIN or caller.account == trigger.account:
            return
        project = await self._projects.get(trigger.project)
        if caller.account != project.account:
            raise TriggerForbidden(
                f"{trigger.id} is {trigger.account}'s, the project {project.account}'s", field="trigger",
                next_step=f"ask {trigger.account} to do it",
            )  # fmt: skip

    def require_runnable(self, account: str, project: Project) -> None:
        """Its runs are the account's, whoever makes it."""
        try:
            require_role(Principal(USER, account), project, Role.RUNNER)
        except (ProjectForbidden, ProjectNotFound) as error:
            raise TriggerForbidden(
                f"its runs would be {account}'s, which may not run {project.id}", field="trigger.project_id",
                next_step=f"yard graph share {project.id} {account} runner",
            ) from error  # fmt: skip
