"""What the scheduler's tables hold, as values: one type a row, and all that a restart finds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.scheduler.model import Dependency, FieldVerdict, PendingChange, Spec
from services.scheduler.notification import KnownContact
from services.scheduler.queues.shares import AccountSettings, QueueSettings
from services.scheduler.state.effects import RecordGang, UseRow
from services.scheduler.state.events import EndedTask


class Counters(msgspec.Struct):
    """Where numbering goes on; written with every transaction."""

    epoch: int = 0
    next_number: int = 1
    revision: int = 0
    next_spec: int = 1
    # No task below this key is unfinished.
    live_from: int = 0


class TaskRow(msgspec.Struct, frozen=True):
    key: int
    spec: int
    account: str
    params: str
    submit_ms: int
    revision: int
    body: bytes = b""


class ChangeRow(msgspec.Struct, frozen=True):
    revision: int
    state: int
    attempt: int
    epoch: int
    node: str
    time_ms: int
    start_ms: int
    cause: int
    detail: str
    payload: bytes
    # Comma-separated indexes.
    devices: str = ""


class ModificationRow(msgspec.Struct, frozen=True):
    task: int
    revision: int
    request_revision: int
    attempt: int
    time_ms: int
    spec: int
    params: str
    pending: tuple[PendingChange, ...]
    verdicts: tuple[FieldVerdict, ...]


class ArrayRow(msgspec.Struct, frozen=True):
    """How far an array is: elements below ``next_index`` had their turn, and so did those in ``skipped``."""

    next_index: int
    skipped: tuple[int, ...]
    ended: Mapping[int, int]


def is_in_order(spec: Spec) -> bool:
    """Whether elements of an array have their turn one after the other."""
    return not spec.array_indexes and not any(one.is_element_wise for one in spec.dependencies)


class Recovered(msgspec.Struct):
    """What a restart finds."""

    counters: Counters
    specs: list[Spec]
    accounts_of_specs: dict[int, str]
    tasks: list[TaskRow]
    changes: dict[int, list[ChangeRow]]
    arrays: dict[int, ArrayRow]
    # Of the last day, and whether there are more.
    requests: list[tuple[str, str, bytes, int, int]]
    has_more_requests: bool
    recent: list[tuple[int, int, str]]
    # (id, whether it is cordoned, labels, when a drain ends what runs).
    nodes: list[tuple[str, bool, list[tuple[str, str, bool]], int]]
    modifications: dict[int, list[ModificationRow]] = {}
    dependencies: dict[int, list[Dependency]] = {}
    # Of what they are on, where it has ended; of arrays with what became of their elements, where that matters.
    ended: dict[int, EndedTask] = {}
    # By account and name.
    contacts: dict[str, dict[str, KnownContact]] = {}
    gangs: list[RecordGang] = []
    queues: list[tuple[str, QueueSettings]] = []
    account_settings: list[tuple[str, AccountSettings]] = []
    uses: list[UseRow] = []
    # Up to here changes of tasks that are no longer kept are missing.
    pruned_revision: int = 0
    # How long tasks that are asked to end have, where that is not the usual time.
    graces: dict[int, int] = {}


_PENDING = msgspec.json.Decoder(tuple[PendingChange, ...])
VERDICTS = msgspec.json.Decoder(tuple[FieldVerdict, ...])


def modification_of(values: tuple[Any, ...]) -> ModificationRow:
    """The row as it was read."""
    task, revision, request_revision, attempt, time_ms, spec, params, pending, verdicts = values
    return ModificationRow(
        task, revision, request_revision, attempt, time_ms, spec, params,
        _PENDING.decode(pending), VERDICTS.decode(verdicts),
    )  # fmt: skip
