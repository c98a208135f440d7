"""What follows when an instance ends: judged, paid for, restarted in a scope, or left as it is (S3.8). Pure.

A restart is a wave: its instances are stopped, its back-off passes, then all of them start again. The wave and what it
costs are on disk before the first of them is stopped (I3).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from modelyard.training import Ending, ScopeKind, Verdict
from modelyard.training.expressions import patterns
from modelyard.training.policies.readiness import line_sign
from modelyard.training.policies.restarts import Action, Cause, Per, Purse, RestartScope
from services.trainer.jobs import asking, checkpoints, evidence, gangs
from services.trainer.jobs.acts import Act
from services.trainer.model import PLACED, ConditionKind, Exit, InstanceState, JobState
from services.trainer.state.jobs import Budget, Instance, Key, Wave

JUDGING = "JUDGING"
"""Its end is known, what follows is not."""
STORING_MS = 60_000
"""How long a restart waits at most for the newest checkpoint of others to be in the store."""


def ended(act: Act, instance: Instance, found: Exit) -> None:
    """Its processes of the present epoch have ended, or never will start; told twice it changes nothing."""
    if instance.state.has_ended or found.epoch != instance.epoch:
        return
    if instance.state is InstanceState.BACKING_OFF or instance.state is InstanceState.PENDING:
        return
    instance.exit, instance.end_ms, instance.is_started = _hanged(instance, found), act.now, False
    act.touch_instance(instance)
    if instance.state is InstanceState.STOPPING:
        _stopped(act, instance)
        return
    if act.job.is_over:
        state = InstanceState.SUCCEEDED if found.cause is Cause.SUCCESS else InstanceState.STOPPED
        act.set(instance, state, found.cause.value.upper(), found.message)
        return
    instance.exit = evidence.judged(act, instance, _with_matches(act, instance, found))
    _judge(act, instance, instance.exit)


def hung(act: Act, instance: Instance, found: Exit) -> None:
    """It lives, and is judged as if it had ended; its end is waited for."""
    act.set(instance, InstanceState.STOPPING, "HANG", found.message)
    instance.stopping_for = "hang"
    instance.exit = found = _with_matches(act, instance, found)
    if asking.is_coded(act, instance.role, "restart"):
        # It is judged when it has ended.
        return
    _judge(act, instance, found)
    if instance.state is InstanceState.FAILED:
        # It has when nothing of it lives.
        act.set(instance, InstanceState.STOPPING, instance.reason, instance.message)
        instance.stopping_for = "condemned"


def _hanged(instance: Instance, found: Exit) -> Exit:
    """Its end as the hang that it was, with what the processes left."""
    known = instance.exit
    if instance.stopping_for not in ("hang", "condemned") or known is None or known.cause is not Cause.HANG:
        return found
    return msgspec.structs.replace(found, cause=Cause.HANG, message=known.message)


def _stopped(act: Act, instance: Instance) -> None:
    if instance.stopping_for in ("restart", "hang") and _wave_of(act, instance.key) is not None:
        act.set(instance, InstanceState.BACKING_OFF, "RESTART")
    elif instance.stopping_for == "hang" and instance.exit is not None:
        _judge(act, instance, instance.exit)
    elif instance.is_condemned:
        act.set(instance, InstanceState.FAILED, instance.reason, instance.message)
    else:
        act.set(instance, InstanceState.STOPPED, instance.stopping_for.upper())


def _judge(act: Act, instance: Instance, found: Exit) -> None:
    planned = act.plan.role(instance.role)
    assert planned is not None
    name, budget = _budget(act, instance, planned.role.restarts.per)
    ending = Ending(
        cause=found.cause, exit_code=found.exit_code, signal=found.signal, matched=frozenset(found.matched)
    )
    verdict = _verdict(act, instance, ending, budget.purse(act.now))
    if verdict is None:
        act.set(instance, InstanceState.BACKING_OFF, JUDGING, found.message)
        return
    if verdict.reason == asking.REASON:
        complaint = asking.complaint_of(act, "restart", instance)
        found = msgspec.structs.replace(found, message=f"{found.message or found.cause.value}; {complaint}")
    if verdict.avoid_node and found.node and found.node not in act.job.avoid:
        act.job.avoid = [*act.job.avoid, found.node]
    if verdict.action is Action.SUCCEED:
        act.set(instance, InstanceState.SUCCEEDED, verdict.reason)
    elif verdict.action is Action.FAIL:
        if act.job.failure is None:
            act.job.failure, act.job.failed = found, instance.key
        act.touch()
        act.set(instance, InstanceState.FAILED, verdict.reason, found.message)
    else:
        _pay(act, name, budget, verdict)
        begin_wave(act, instance, verdict, found)


def _with_matches(act: Act, instance: Instance, found: Exit) -> Exit:
    """With the patterns of its role's rules that a line of these processes has: its agent has watched for them, and the
    last lines are there."""
    planned = act.plan.role(instance.role)
    assert planned is not None
    asked = dict.fromkeys(rule.log for rule in planned.role.restarts.rules if rule.log)
    if not asked:
        return found
    signs = act.plan.signs(instance.role)
    seen = {signs[number] for number in instance.signs if number < len(signs)}
    matched = tuple(log for log in asked if line_sign(log) in seen or _is_said(log, found.last_lines))
    return msgspec.structs.replace(found, matched=matched)


def _is_said(pattern: str, lines: Iterable[str]) -> bool:
    return any(patterns.matches(pattern, line) for line in lines)


def _verdict(act: Act, instance: Instance, ending: Ending, purse: Purse) -> Verdict | None:
    """None: a package's code is asked, and it is judged when that has answered."""
    planned = act.plan.role(instance.role)
    assert planned is not None
    if "restart" not in planned.role.coded:
        return planned.role.restart(ending, purse)
    found = asking.restart(act, instance, ending, purse)
    return None if found is None else found.value


def judge_waiting(act: Act) -> None:
    """Those whose ends a package's code was asked about."""
    if act.job.is_over or act.job.is_suspending:
        return
    for instance in [*act.live.instances.values()]:
        is_waiting = instance.state is InstanceState.BACKING_OFF and instance.reason == JUDGING
        if is_waiting and instance.exit is not None:
            _judge(act, instance, instance.exit)


def _budget(act: Act, instance: Instance, per: Per) -> tuple[str, Budget]:
    name = {
        Per.INSTANCE: f"instance {instance.role} {instance.index}",
        Per.ROLE: f"role {instance.role}",
        Per.JOB: "job",
    }[per]
    return name, act.job.budgets.setdefault(name, Budget())


def _pay(act: Act, name: str, budget: Budget, verdict: Verdict) -> None:
    act.job.budgets[name] = Budget(
        verdict.purse.used, verdict.purse.in_a_row, budget.uncounted + (not verdict.is_counted), act.now
    )
    act.job.restarts += 1
    act.touch()


def begin_wave(act: Act, instance: Instance, verdict: Verdict, found: Exit) -> None:
    """Everybody in the verdict's scope is stopped and starts again; `instance` itself has nothing to stop."""
    keys = _in_scope(act, instance, verdict.scope)
    until_ms = act.now + round(verdict.delay_s * 1000)
    overlapping = [wave for wave in act.job.waves if set(wave.keys) & set(keys)]
    for wave in overlapping:
        # One more failure within a restart makes it wider, never a second one.
        keys = [*keys, *(key for key in wave.keys if key not in keys)]
        until_ms = max(until_ms, wave.until_ms)
    number, act.job.next_wave = act.job.next_wave, act.job.next_wave + 1
    message = f"{instance.role}-{instance.index}: {found.message or found.cause.value}"
    kept = [wave for wave in act.job.waves if wave not in overlapping]
    act.job.waves = [*kept, Wave(number, keys, message, until_ms)]
    act.set_job(JobState.RESTARTING, verdict.reason, message)
    act.condition(ConditionKind.RUNNING, is_true=False, reason=verdict.reason, message=message)
    act.condition(ConditionKind.RESTARTING, is_true=True, reason=verdict.reason, message=message)
    for key in keys:
        one = act.live.instances[key]
        if one is instance and instance.stopping_for == "hang":
            # It lives, and is on its way to its end.
            continue
        if one.state.has_processes and one is not instance:
            act.stop(one, "restart")
        else:
            act.set(one, InstanceState.BACKING_OFF, verdict.reason, found.message)
        one.restarts += 1
        act.touch_instance(one)


def _in_scope(act: Act, instance: Instance, scope: RestartScope) -> list[Key]:
    """Whom a restart takes along; what has succeeded only within a wider one (I4)."""
    everyone = act.live.instances
    if scope.kind is ScopeKind.INSTANCE:
        return [instance.key]
    if scope.kind is ScopeKind.ROLE:
        return [key for key in everyone if key[0] == instance.role]
    if scope.kind is ScopeKind.ROLES:
        return [key for key in everyone if key[0] in scope.roles or key == instance.key]
    return [*everyone]


def _wave_of(act: Act, key: Key) -> Wave | None:
    return next((wave for wave in act.job.waves if key in wave.keys), None)


def go_on(act: Act) -> None:
    """Waves of which all have ended and whose back-off is over: everybody in them may start again."""
    if act.job.state not in PLACED:
        return
    for wave in [*act.job.waves]:
        members = [act.live.instances[key] for key in wave.keys if key in act.live.instances]
        if act.now < wave.until_ms or any(one.state.has_processes for one in members):
            continue
        if act.now < wave.until_ms + STORING_MS and checkpoints.are_awaited(act, wave.keys):
            continue
        act.job.waves = [one for one in act.job.waves if one.number != wave.number]
        act.touch()
        lost = []
        for one in members:
            is_avoided = one.address is not None and one.address.node in act.job.avoid
            if is_avoided:
                act.close(one, message="its node is avoided")
            if not one.task:
                one.address = None
                lost.append(one.key)
                act.set(one, InstanceState.PENDING, "SEAT_LOST")
            elif one.address is None:
                # Its place was asked for before, and is still to come.
                act.set(one, InstanceState.PENDING)
            else:
                act.set(one, InstanceState.SEATED)
        checkpoints.choose(act, [one.key for one in members])
        if lost:
            act.publish()
            gangs.submit(act, lost, is_whole=False)


def seat_lost(act: Act, instance: Instance, found: Exit) -> None:
    """Its task has ended without having been closed."""
    instance.task = ""
    act.touch_instance(instance)
    if instance.state is InstanceState.SUCCEEDED:
        # Others that start again are still told where it was.
        return
    instance.address = None
    act.publish()
    if instance.state.has_processes or instance.state is InstanceState.SEATED:
        ended(act, instance, found)
