"""Who waits for what has become of other tasks, and what has happened that they are yet to hear. Pure data.

Indexed by what is waited for: where nobody depends on anything, nobody is asked.
"""

from collections import deque

from services.scheduler.model import Dependency, array_of


class Dependents:
    """A *fact* is (key, code): the code is the final state, or 0, and `tally.STARTED` if the task has started."""

    __slots__ = ("by_array", "by_task", "doomed", "happened")

    def __init__(self) -> None:
        # Dependents by the task, array or element that they wait for; those that have ended since are passed over.
        self.by_task: dict[int, dict[int, None]] = {}
        # Arrays that wait, element by element, by the array that they wait for.
        self.by_array: dict[int, dict[int, None]] = {}
        self.happened: deque[tuple[int, int]] = deque()
        # Tasks whose dependency could no longer be met when they were submitted, and the fact that says so.
        self.doomed: deque[tuple[int, Dependency, int]] = deque()

    def __bool__(self) -> bool:
        return bool(self.by_task or self.by_array)

    def note(self, key: int, code: int) -> None:
        """Something happened; it is told to dependents at the end of the step."""
        if key in self.by_task or array_of(key) in self.by_array:
            self.happened.append((key, code))

    def add(self, key: int, dependency: Dependency) -> None:
        """From here on the task is told of what it depends on."""
        if dependency.is_element_wise:
            self.by_array.setdefault(dependency.on, {})[key] = None
            return
        self.by_task.setdefault(dependency.on, {})[key] = None
        if array_of(dependency.on) != dependency.on:
            # An element that is never made has no end of its own: that of its array says so.
            self.by_task.setdefault(array_of(dependency.on), {})[key] = None
