"""Specifications with dependencies, array limits and delivery, for the pure machine."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from services.scheduler.model import Condition, Dependency, Spec, task_key
from services.scheduler.state import events as ev
from tests.support.scheduler_cluster import MachineCluster, make_spec

FIELDS = ("dependencies", "array_indexes", "max_running", "max_fails", "is_at_most_once")


def conduct_spec(body: bytes = b"conduct", **fields: Any) -> Spec:
    """As `make_spec`, with the fields of conduct too."""
    conduct = {name: fields.pop(name) for name in FIELDS if name in fields}
    return structs.replace(make_spec(body + repr(conduct).encode(), **fields), **conduct)


def after(on: int, condition: Condition = Condition.SUCCEEDED, *, element_wise: bool = False) -> Dependency:
    """On a task by its key."""
    return Dependency(on, condition, element_wise)


def after_item(
    item: int, condition: Condition = Condition.SUCCEEDED, *, element_wise: bool = False
) -> Dependency:
    """On an earlier item of the same submission."""
    return Dependency(0, condition, element_wise, item)


def submit_all(
    cluster: MachineCluster, *specs: Spec, ended: dict[int, ev.EndedTask] | None = None, reply: int = 900_000
) -> list[int]:
    """One task of each specification, in one submission."""
    items = tuple((index, "") for index in range(len(specs)))
    cluster.step(ev.TasksSubmitted(reply, "ada", "", b"", specs, items, ended or {}))
    answer = cluster.answers[reply]
    if answer.error is not None:
        raise answer.error
    return [task_key(number) for number in range(answer.first, answer.first + answer.count)]
