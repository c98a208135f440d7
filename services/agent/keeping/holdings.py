"""What running tasks hold instead of what their specification says; kept for a later agent process.

It reads this before it sets any limit: what a task was given in the meantime must not be taken away.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from services.agent.keeping.kept import Kept
from services.agent.tasks.model import Body, Holding, Task


class Holdings(Kept[Holding]):
    """Those of one node."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Holding)

    def note(self, task: Task, holding: Holding) -> None:
        """On disk when it returns."""
        self.put(task.key, holding)

    def laid_over(self, key: str, body: Body) -> Body:
        """The body of a task that was found again, with what it holds."""
        known = self.known.get(key)
        if known is None:
            return body
        return msgspec.structs.replace(body, resources=known.resources, limits=known.limits)
