"""Whether those who start together can reach each other, found out before anybody starts (S3.6). Pure.

Nodes are asked, not instances: of each node one instance dials, and one answers at its first port. Up to eight nodes
everybody dials everybody; of more, each dials the first and those 1, 2, 4, 8 … further on, so that n nodes make n·log n
attempts. Nodes that have the same network and address are one machine. Who was reached once is not asked again; what
has failed is tried a second time, because an agent may just have been away.

Nothing of a check is on disk before it has come to its end: a trainer that dies meanwhile asks anew.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from modelyard.training.jobs.job import PeerPolicy
from services.trainer.jobs import outcomes
from services.trainer.jobs.acts import Act
from services.trainer.model import ConditionKind, InstanceState, JobState
from services.trainer.state.effects import CheckPeers, Target
from services.trainer.state.jobs import Check, Instance, Key, LiveJob, Unreached

TIMEOUT_MS = 5_000
"""How long an agent tries."""
ANSWER_MS = 5_000
"""How long its answer may take beyond that: then it is not waited for."""
AGAIN_MS = 10_000
"""Between two attempts of a job that waits."""
ALL_NODES = 8
"""So many dial each other in all directions."""

REASON = "UNREACHABLE"


def is_clear(act: Act) -> bool:
    """Whether instances may be launched; asks the agents where that is not known."""
    job = act.job
    if act.plan.job.gang.check is PeerPolicy.OFF:
        return True
    if act.live.check is not None:
        _drop_lost(act, act.live.check)
        if (act.live.check.waiting or act.live.check.is_pause) and act.now < act.live.check.until_ms:
            return False
        if not act.live.check.is_pause:
            _conclude(act, act.live.check)
            if job.outcome is not None or act.live.check is not None:
                return False
    places = _places(act)
    if places.keys() <= set(job.checked):
        return True
    pairs = [*_pairs(act, places)]
    if not pairs:
        _note(act, [*places])
        return True
    _begin(act, pairs, [*places])
    return False


def _places(act: Act) -> dict[str, list[Instance]]:
    """Instances with an address, by node and the name that it tells of itself."""
    found: dict[str, list[Instance]] = {}
    for one in act.live.instances.values():
        if one.address is not None and one.task:
            found.setdefault(f"{one.address.node} {one.address.host}", []).append(one)
    return found


def _pairs(act: Act, places: dict[str, list[Instance]]) -> Iterator[tuple[Instance, Instance]]:
    """Who dials whom."""
    names, known = [*places], set(act.job.checked)
    answering = {name: one for name in names if (one := _who_answers(act, places[name])) is not None}
    for here, name in enumerate(names):
        dialling = places[name][0]
        for there in _neighbours(here, len(names)):
            target = answering.get(names[there])
            is_known = name in known and names[there] in known
            if target is not None and not is_known and not _is_same_machine(dialling, target):
                yield dialling, target


def _neighbours(here: int, count: int) -> list[int]:
    if count <= ALL_NODES:
        return [there for there in range(count) if there != here]
    steps = {(here + (1 << power)) % count for power in range((count - 1).bit_length())}
    return sorted((steps | {0}) - {here})


def _who_answers(act: Act, instances: list[Instance]) -> Instance | None:
    """One whose ports are its seat's, because nothing runs in it."""
    for one in instances:
        planned = act.plan.role(one.role)
        if one.state is InstanceState.SEATED and planned is not None and planned.role.address():
            return one
    return None


def _is_same_machine(one: Instance, other: Instance) -> bool:
    a, b = one.address, other.address
    return a is not None and b is not None and a.network == b.network != "" and a.host == b.host


def _begin(
    act: Act, pairs: list[tuple[Instance, Instance]], places: list[str], *, is_second: bool = False
) -> None:
    live = act.live
    asked = {one.key: one for pair in pairs for one in pair}
    live.last_check = max(act.now, live.last_check + 1)
    check = live.check = Check(
        number=live.last_check, waiting={key: one.task for key, one in asked.items()}, places=places,
        until_ms=act.now + TIMEOUT_MS + ANSWER_MS, targets={}, callers={}, is_second=is_second,
    )  # fmt: skip
    for one, other in pairs:
        check.targets.setdefault(one.key, []).append(other.key)
        check.callers[other.key] = check.callers.get(other.key, 0) + 1
    for one in asked.values():
        ask(act, one)


def ask(act: Act, instance: Instance) -> None:
    """The command; sent again after a greeting."""
    check, address = act.live.check, instance.address
    if check is None or check.waiting.get(instance.key) != instance.task or address is None:
        return
    targets = [_target(act, act.live.instances.get(other)) for other in check.targets.get(instance.key, ())]
    act.effects.wishes.append(
        CheckPeers(
            act.job.number, *instance.key, instance.task, address.node, check.number,
            tuple(target for target in targets if target is not None), check.callers.get(instance.key, 0), TIMEOUT_MS,
        )
    )  # fmt: skip


def _target(act: Act, instance: Instance | None) -> Target | None:
    planned = act.plan.role(instance.role) if instance is not None else None
    if instance is None or instance.address is None or planned is None:
        return None
    port = instance.address.ports.get(planned.role.address()[0].name, 0)
    return Target(*instance.key, instance.address.host, port, instance.task)


def answered(act: Act, instance: Instance, number: int, unreached: tuple[Unreached, ...]) -> None:
    """What an agent has found out."""
    check = act.live.check
    if check is None or check.number != number or instance.key not in check.waiting:
        return
    del check.waiting[instance.key]
    check.unreached = [*check.unreached, *unreached]


def is_answered(live: LiveJob) -> bool:
    """Whether the last answer has come."""
    return live.check is not None and not live.check.waiting


def _drop_lost(act: Act, check: Check) -> None:
    """Whose seat is gone is not waited for."""
    check.waiting = {key: task for key, task in check.waiting.items() if _task_of(act, key) == task}


def _task_of(act: Act, key: Key) -> str:
    instance = act.live.instances.get(key)
    return instance.task if instance is not None and instance.address is not None else ""


def _conclude(act: Act, check: Check) -> None:
    """Everybody who can has answered."""
    job = act.job
    # Who was asked to answer and has not said that it did was away itself.
    failures = [
        one
        for one in check.unreached
        if _task_of(act, (one.role, one.index)) and (one.role, one.index) not in check.waiting
    ]
    act.live.check = None
    act.touch()
    if not failures:
        _note(act, check.places)
        return
    places = _places(act)
    if not check.is_second and (pairs := [*_pairs(act, places)]):
        _begin(act, pairs, [*places], is_second=True)
        return
    message = _message(act, failures)
    act.condition(ConditionKind.UNREACHABLE, is_true=True, reason=REASON, message=message)
    policy = act.plan.job.gang.check
    if policy is PeerPolicy.FAIL:
        outcomes.decide(act, JobState.FAILED, REASON, message)
    elif policy is PeerPolicy.WAIT:
        act.job.reason, act.job.message = REASON, message
        act.live.check = Check(
            number=check.number, until_ms=act.now + AGAIN_MS, is_pause=True, message=message
        )
    else:
        job.checked = check.places


def _note(act: Act, places: list[str]) -> None:
    """These reach each other."""
    act.job.checked = places
    act.condition(ConditionKind.UNREACHABLE, is_true=False, reason="REACHED")
    if act.job.reason == REASON:
        act.job.reason = act.job.message = ""
    act.touch()


def _message(act: Act, failures: list[Unreached]) -> str:
    first = failures[0]
    words = f"{first.by} on {first.by_node} cannot reach {first.role}-{first.index} at {first.address}"
    target = act.live.instances[first.role, first.index]
    where = f" on {target.address.node}" if target.address is not None else ""
    more = f", and {len(failures) - 1} more of such" if len(failures) > 1 else ""
    return f"{words}{where}: {first.error}{more}"


def named(instance: Instance, found: Unreached) -> Unreached:
    """With who did not reach it."""
    node = instance.address.node if instance.address is not None else ""
    return msgspec.structs.replace(found, by=f"{instance.role}-{instance.index}", by_node=node)
