"""What to print of a failing seed: the end of the trace, and everything known of whom it failed about."""

from __future__ import annotations

import re

from services.scheduler.model import TaskState, parse_task_id
from services.scheduler.state.state import State
from tests.simulation.disk import Disk
from tests.simulation.kernel import SECOND, Kernel

_CHANGES = """
SELECT revision, state, epoch, attempt, node, time_ms, cause, detail FROM change WHERE task = ? ORDER BY revision
"""


def tell(kernel: Kernel, disk: Disk, state: State, subjects: tuple[str, ...], lines: int) -> tuple[str, ...]:
    """The last lines of the trace, and for each subject (a task's id or a node) what the trace and the disk say."""
    trace = [f"{at / SECOND:12.6f} {who:10} {' '.join(map(str, what))}" for at, who, what in kernel.lines]
    story = [f"--- the last {lines} lines after {kernel.events} events", *trace[-lines:]]
    for subject in subjects:
        mention = re.compile(rf"{re.escape(subject)}(?![\d.])")
        story += [f"--- {subject} in the trace", *[line for line in trace if mention.search(line)][-lines:]]
        if subject.startswith("t-"):
            story += _task(disk, state, subject)
    return tuple(story)


def _task(disk: Disk, state: State, name: str) -> list[str]:
    key = parse_task_id(name)
    rows = disk.query(_CHANGES, key)
    story = [f"--- {name} on disk", *[f"{row[0]:6} {TaskState(row[1]).name:10} {row[2:]}" for row in rows]]
    task = state.tasks.get(key)
    if task is not None:
        queue = task.queue
        story.append(
            f"--- {name} in memory: {task.state.name} {task.reason!r} on {task.node!r}, stop: {task.stop}"
        )
        story.append(f"    {queue.shape}, set aside: {queue.is_blocked}")
    return story
