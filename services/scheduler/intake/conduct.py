"""How a task stands to others and to its own repetitions: dependencies, the limits of an array, delivery.

The edge for these fields of ``TaskSpec``. Every refusal names the field; nothing here changes state.
"""

import msgspec

from modelyard.v1 import task_pb2
from services.scheduler.model import Cause, Condition, Dependency, parse_task_id
from services.scheduler.refusals import invalid

MOST_DEPENDENCIES = 1_000
MOST_INDEXES = 1_000_000


class Conduct(msgspec.Struct, frozen=True):
    """The fields of `model.Spec` under the same names."""

    dependencies: tuple[Dependency, ...]
    array_indexes: tuple[int, ...]
    max_running: int
    max_fails: int
    is_at_most_once: bool


def convert(spec: task_pb2.TaskSpec, field: str) -> Conduct:
    """Raises `InvalidSpec`, or `MalformedTaskId`."""
    limits = spec.array_limits
    if (limits.max_running or limits.HasField("max_fails")) and not spec.array_size:
        raise invalid(f"{field}.array_limits", "it is no array", "set array_size, or leave the limits out")
    _check_together(spec, field)
    for name in ("max_running", "max_fails"):
        if getattr(limits, name) < 0:
            raise invalid(f"{field}.array_limits.{name}", f"{getattr(limits, name)} is negative")
    return Conduct(
        dependencies=_dependencies(spec, field),
        array_indexes=_indexes(spec, field),
        max_running=limits.max_running,
        max_fails=limits.max_fails if limits.HasField("max_fails") else -1,
        is_at_most_once=_is_at_most_once(spec, field),
    )


def _check_together(spec: task_pb2.TaskSpec, field: str) -> None:
    """What starts together, all of it or none, cannot have elements that come one after the other."""
    one_by_one = {
        "array_indexes": bool(spec.array_indexes),
        "array_limits.max_running": spec.array_limits.max_running > 0,
        "dependencies": any(one.element_wise for one in spec.dependencies),
    }
    together = "placement.quote" if spec.placement.quote else "gang" if spec.gang.name else ""
    for name, is_set in one_by_one.items():
        if together and is_set and spec.array_size:
            raise invalid(
                f"{field}.{name}", f"with {together} the elements start together", "leave one of the two out"
            )


def _dependencies(spec: task_pb2.TaskSpec, field: str) -> tuple[Dependency, ...]:
    if spec.dependencies and spec.placement.quote:
        raise invalid(
            f"{field}.dependencies", "a task that takes a quote's room starts at once",
            "leave the dependencies or placement.quote out",
        )  # fmt: skip
    if len(spec.dependencies) > MOST_DEPENDENCIES:
        raise invalid(
            f"{field}.dependencies", f"{len(spec.dependencies)} are more than {MOST_DEPENDENCIES}",
            "let a task that waits for some of them stand for those",
        )  # fmt: skip
    found: dict[Dependency, None] = {}
    for number, wanted in enumerate(spec.dependencies):
        path = f"{field}.dependencies[{number}]"
        one = _dependency(spec, wanted, path)
        if one in found:
            raise invalid(path, "it is there already", "name each dependency once")
        found[one] = None
    return tuple(found)


def _dependency(spec: task_pb2.TaskSpec, wanted: task_pb2.Dependency, path: str) -> Dependency:
    kind = wanted.WhichOneof("on")
    if kind is None:
        raise invalid(path, "it does not say on what", "set task_id or item_index")
    if wanted.condition not in (0, *Condition):
        raise invalid(f"{path}.condition", f"{wanted.condition} is not a condition")
    if wanted.element_wise and not spec.array_size:
        raise invalid(
            f"{path}.element_wise", "it is no array", "set array_size, or wait for the whole of the other one"
        )
    on = parse_task_id(wanted.task_id, f"{path}.task_id") if kind == "task_id" else 0
    if kind == "task_id" and not on:
        raise invalid(f"{path}.task_id", f"there is no task {wanted.task_id}", "yard tasks ls")
    if kind == "item_index" and wanted.item_index < 0:
        raise invalid(f"{path}.item_index", f"{wanted.item_index} is negative", "count items from 0")
    item = wanted.item_index if kind == "item_index" else -1
    condition = Condition(wanted.condition or Condition.SUCCEEDED)
    return Dependency(on, condition, wanted.element_wise, item)


def _indexes(spec: task_pb2.TaskSpec, field: str) -> tuple[int, ...]:
    """The elements that "0-4,7" names, in order."""
    text, path = spec.array_indexes, f"{field}.array_indexes"
    if not text:
        return ()
    if not spec.array_size:
        raise invalid(path, "it is no array", "set array_size too: indexes are below it")
    found: set[int] = set()
    for word in text.split(","):
        first, _, last = word.strip().partition("-")
        last = last or first
        if not all(end.isascii() and end.isdigit() and len(end) <= 8 for end in (first, last)):
            raise invalid(path, f"{word[:40]!r} is no index and no range", 'write it like "0-4,7"')
        if not int(first) <= int(last) < spec.array_size:
            raise invalid(path, f"{word[:40]!r} is not within 0 … {spec.array_size - 1}")
        if len(found) + int(last) - int(first) >= MOST_INDEXES:
            raise invalid(path, f"it names more than {MOST_INDEXES} elements", "use several arrays")
        found.update(range(int(first), int(last) + 1))
    return () if len(found) == spec.array_size else tuple(sorted(found))


def _is_at_most_once(spec: task_pb2.TaskSpec, field: str) -> bool:
    if spec.delivery not in task_pb2.Delivery.values():
        raise invalid(f"{field}.delivery", f"{spec.delivery} is not a way of delivery")
    if spec.delivery != task_pb2.DELIVERY_AT_MOST_ONCE:
        return False
    if spec.retry.max_attempts > 1 and [int(cause) for cause in spec.retry.on] != [Cause.SETUP]:
        raise invalid(
            f"{field}.retry", "a task that is delivered at most once is not started again",
            "leave retry out, or retry on SETUP only: then it had not started",
        )  # fmt: skip
    if spec.preemption.preemptible:
        raise invalid(
            f"{field}.preemption.preemptible", "a task that is delivered at most once cannot make room",
            "leave preemptible or delivery out",
        )  # fmt: skip
    return True
