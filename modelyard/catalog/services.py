"""How operators call the yard's services: on behalf of their task's account, with the task's own token."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.context import Context
from modelyard.operator.failure import OperatorFailed

if TYPE_CHECKING:
    from modelyard.client import Client

NOTHING = Path("/dev/null")
"""The default of a port for a file that need not be connected."""
PATIENCE_S = 120.0
"""So long a service may be away: it may be restarted at the moment, and what was asked of it is asked again."""


class NoAccess(OperatorFailed):
    """The agent did not say how the yard is reached."""


class ServiceRefused(OperatorFailed):
    """What a service answered."""


@asynccontextmanager
async def yard_of(ctx: Context) -> AsyncIterator["Client"]:
    """The yard. Raises NoAccess; what a service refuses within the block becomes ServiceRefused."""
    if ctx.access is None:
        raise NoAccess("this operator calls services, and nobody said where they are", "run it as a task")
    from modelyard.client import Client
    from modelyard.errors import YardError

    try:
        async with Client(**ctx.access._asdict(), first_patience_s=PATIENCE_S) as yard:
            yield yard
    except YardError as error:
        raise ServiceRefused(str(error), error.next_step) from error


def request_id_of(ctx: Context, what: str) -> str:
    """The same for each attempt of the task: what was asked for is asked for once."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"modelyard:{ctx.task_id}/{what}"))
