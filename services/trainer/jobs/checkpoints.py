"""Checkpoints of a job: which are known, which are kept, which of them an instance goes on from (S3.8, G8). Pure.

Agents tell what is complete; a checkpoint is known by instance, name and content. Instances that train together go on
from the same step: the newest that everybody has who writes any. It is chosen once for all that start together.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from modelyard.training import Progress
from modelyard.training.jobs.job import Checkpoints
from modelyard.training.policies.restarts import ScopeKind
from services.trainer.jobs.acts import Act
from services.trainer.model import Checkpoint, InstanceState
from services.trainer.state.effects import DropCheckpoint, DropFiles, HoldReferences, PutCheckpoint
from services.trainer.state.events import CheckpointSeen
from services.trainer.state.jobs import Instance, Key

SHARED_MOST = 100
"""Of a directory on a shared file system so many are remembered of each instance; nothing in it is removed."""
UNCHOSEN = -1
REPORTS_MOST = 1_000
REPORT_LATE_MS = 200
"""So much later than it was said a report comes here."""
_DIGITS = re.compile(r"[0-9]{1,15}")
_PINNING = (
    InstanceState.PENDING,
    InstanceState.SEATED,
    InstanceState.STARTING,
    InstanceState.BACKING_OFF,
)


def wanted(act: Act) -> Checkpoints | None:
    """None: the job has none."""
    found = act.plan.job.checkpoints
    return found if found.directory else None


def step_of(name: str) -> int | None:
    """The last number in a name: "epoch=3-step=500.ckpt", "checkpoint-500"."""
    found = _DIGITS.findall(name)
    return int(found[-1]) if found else None


# --- what is told


def seen(act: Act, instance: Instance, event: CheckpointSeen) -> None:
    """One is complete, or is in the store by now; told twice it changes nothing."""
    rules = wanted(act)
    if rules is None or event.task not in (instance.task, *instance.closing):
        return
    mine = act.live.checkpoints.setdefault(instance.key, {})
    known = mine.get(event.name)
    if known is None and _is_copy(act, instance, event):
        return
    if known is not None and known.digest == event.digest:
        found = msgspec.structs.replace(
            known, task=event.task, node=event.node, is_stored=known.is_stored or event.is_stored
        )
    else:
        found = _new(act, instance, event, mine.values())
        if known is not None:
            _let_go(act, known)
    if found == known:
        return
    if found.is_stored and (known is None or known.number != found.number or not known.is_stored):
        digests = tuple(dict.fromkeys(digest for _, digest, _ in found.files))
        act.effects.wishes.append(HoldReferences(act.job.account, holder_of(act.job.number, found), digests))
    _put(act, found)
    _prune(act, instance, rules)


def _is_copy(act: Act, instance: Instance, event: CheckpointSeen) -> bool:
    """Whether it is another's, that was put there to go on from."""
    return any(
        key != instance.key and event.name in each and each[event.name].digest == event.digest
        for key, each in act.live.checkpoints.items()
    )


def _new(act: Act, instance: Instance, event: CheckpointSeen, others: Iterable[Checkpoint]) -> Checkpoint:
    rules = act.plan.job.checkpoints
    latest = max(((one.seat, one.time_ms) for one in others), default=(0, 0))
    # Of one that is told late nobody knows what was reported when it was written.
    is_latest = (instance.seats, event.time_ms) >= latest
    number, act.job.next_checkpoint = act.job.next_checkpoint, act.job.next_checkpoint + 1
    return Checkpoint(
        number=number, role=instance.role, index=instance.index, name=event.name, digest=event.digest,
        files=event.files, size_bytes=event.size_bytes, time_ms=event.time_ms, seat=instance.seats, task=event.task,
        node=event.node, epoch=event.epoch, step=step_of(event.name), is_stored=event.is_stored,
        metric=_metric(act, instance, event) if is_latest and rules.metric else None,
    )  # fmt: skip


def reported(act: Act, instance: Instance, progress: Progress) -> None:
    """What it says of the metric by which the best are kept: a checkpoint is found a while after it was written."""
    name = act.plan.job.checkpoints.metric
    if name in progress.metrics:
        known = act.live.reported.setdefault(instance.key, deque(maxlen=REPORTS_MOST))
        known.append((progress.step, act.now, progress.metrics[name]))


def _metric(act: Act, instance: Instance, event: CheckpointSeen) -> float | None:
    """What it had reported by then, else the first of the others who has; by the step where both are known."""
    step, name = step_of(event.name), act.plan.job.checkpoints.metric
    for one in (instance, *act.live.instances.values()):
        known = act.live.reported.get(one.key, ())
        by_step = [value for at, _, value in known if at is not None and step is not None and at <= step]
        by_time = [value for _, time_ms, value in known if time_ms <= event.time_ms + REPORT_LATE_MS]
        if by_step or by_time:
            return (by_step or by_time)[-1]
        if name in one.metrics:
            return one.metrics[name]
    return None


def holder_of(job: int, found: Checkpoint) -> str:
    """Under which the store keeps its files."""
    return f"job:j-{job}/{found.role}-{found.index}/{found.number}"


def _put(act: Act, found: Checkpoint) -> None:
    act.live.checkpoints.setdefault((found.role, found.index), {})[found.name] = found
    act.effects.rows.append(PutCheckpoint(act.job.number, found))
    act.touch()


def drop(act: Act, found: Checkpoint) -> None:
    """It is not known any more; what the store has of it is let go."""
    act.live.checkpoints[found.role, found.index].pop(found.name, None)
    act.effects.rows.append(DropCheckpoint(act.job.number, found.role, found.index, found.name))
    _let_go(act, found)
    act.touch()


def _let_go(act: Act, found: Checkpoint) -> None:
    if found.is_stored:
        act.effects.wishes.append(HoldReferences(act.job.account, holder_of(act.job.number, found), ()))


# --- what is kept


def _prune(act: Act, instance: Instance, rules: Checkpoints) -> None:
    """The last, the best, those that are being gone on from, and whatever a later one in the store has not replaced."""
    mine = sorted(act.live.checkpoints[instance.key].values(), key=_age, reverse=True)
    if rules.is_shared:
        for found in mine[SHARED_MOST:]:
            drop(act, found)
        return
    pinned = {one.resume for one in act.live.instances.values() if one.state in _PINNING}
    last = max(1, rules.keep_last)
    stored = [one for one in mine if one.is_stored]
    kept = {one.number for one in (*mine[:last], *stored[:last], *_best(rules, mine))} | pinned
    names = []
    for found in mine:
        if found.number not in kept:
            drop(act, found)
            if found.task == instance.task:
                names.append(found.name)
    if names and instance.address is not None:
        node = instance.address.node
        act.effects.wishes.append(DropFiles(act.job.number, instance.task, node, tuple(names)))


def _best(rules: Checkpoints, mine: Sequence[Checkpoint]) -> list[Checkpoint]:
    sign = 1 if rules.is_lower_better else -1
    measured = [(sign * one.metric, one.number) for one in mine if one.metric is not None]
    best = {number for _, number in sorted(measured)[: rules.keep_best]}
    return [one for one in mine if one.number in best]


def _age(found: Checkpoint) -> tuple[int, int, int, int]:
    """Those of a later seat are newer, whatever its node's clock says."""
    return found.seat, found.time_ms, -1 if found.step is None else found.step, found.number


# --- what is gone on from


def choose(act: Act, keys: Sequence[Key]) -> None:
    """For instances that start together now."""
    rules = wanted(act)
    for key in keys:
        act.live.instances[key].resume = 0
        act.touch_instance(act.live.instances[key])
    if rules is None:
        return
    if rules.is_shared:
        _give(act, keys, _newest(one for each in act.live.checkpoints.values() for one in each.values()))
        return
    together = [key for key in keys if trains_with_others(act, key)]
    for key in keys:
        if key not in together:
            _give(act, [key], _newest(_usable(act, key, key)))
    _choose_together(act, together)


def _choose_together(act: Act, keys: Sequence[Key]) -> None:
    if not keys:
        return
    writers = [key for key in keys if act.live.checkpoints.get(key)]
    # One that comes later goes on from what the others write.
    elsewhere = [key for key, each in act.live.checkpoints.items() if each and trains_with_others(act, key)]
    sources = writers or elsewhere
    readers = [key for key in keys if key not in sources]
    marks = []
    for key in sources:
        usable = _usable(act, key, key if key in keys and not readers else None)
        marks.append({_mark(one): one for one in sorted(usable, key=_age)})
    common = set.intersection(*map(set, marks)) if marks else set()
    if not common:
        for key in writers:
            _give(act, [key], _newest(_usable(act, key, key)))
        return
    best = max(common, key=lambda mark: min(_age(of[mark]) for of in marks))
    for key, of in zip(sources, marks, strict=True):
        if key in keys:
            _give(act, [key], of[best])
    _give(act, readers, marks[0][best])


def are_awaited(act: Act, keys: Sequence[Key]) -> bool:
    """Whether instances that start together would go on from an older one than is on its way to the store."""
    rules = wanted(act)
    together = [key for key in keys if key in act.live.instances and trains_with_others(act, key)]
    writers = [key for key in together if act.live.checkpoints.get(key)]
    if rules is None or rules.is_shared or len(writers) == len(together):
        return False
    newest = [_newest(act.live.checkpoints[key].values()) for key in writers]
    return any(
        one is not None and not one.is_stored and one.task == act.live.instances[one.role, one.index].task
        for one in newest
    )


def _mark(found: Checkpoint) -> int | str:
    """By which checkpoints of different instances are of one moment."""
    return found.name if found.step is None else found.step


def _usable(act: Act, writer: Key, reader: Key | None) -> list[Checkpoint]:
    """Those of one instance that another can have; `reader` None: anybody."""
    task = act.live.instances[reader].task if reader is not None else ""
    each = act.live.checkpoints.get(writer, {}).values()
    return [one for one in each if one.is_stored or (task and one.task == task)]


def _newest(found: Iterable[Checkpoint]) -> Checkpoint | None:
    return max(found, key=_age, default=None)


def _give(act: Act, keys: Iterable[Key], found: Checkpoint | None) -> None:
    for key in keys:
        act.live.instances[key].resume = found.number if found is not None else 0


def trains_with_others(act: Act, key: Key) -> bool:
    """Whether its role has ranks, and a failure of one is not its own affair."""
    planned = act.plan.role(key[0])
    if planned is None or key[0] not in act.plan.framework.ranks:
        return False
    ranked = sum(act.job.counts.get(role, 0) for role in act.plan.framework.ranks)
    return ranked > 1 and planned.role.restarts.scope.kind is not ScopeKind.INSTANCE


def resumed(act: Act, instance: Instance) -> Checkpoint | None:
    """What it goes on from; chosen now if it was not, or is not there any more."""
    if instance.resume == UNCHOSEN:
        choose(act, [instance.key])
    if not instance.resume:
        return None
    everything = (one for each in act.live.checkpoints.values() for one in each.values())
    found = next((one for one in everything if one.number == instance.resume), None)
    if found is None:
        choose(act, [instance.key])
        return resumed(act, instance) if instance.resume else None
    return found


def directory_of(rules: Checkpoints | None, directory: str) -> str:
    """Of an instance whose own directory that is; empty: there are none."""
    if rules is None:
        return ""
    return rules.directory if rules.is_shared else f"{directory}/{rules.directory}"
