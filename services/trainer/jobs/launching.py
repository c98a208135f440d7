"""Who may start: edges between roles, and what is sent to the agent then (S3.5–S3.7). Pure."""

from __future__ import annotations

import msgspec

from modelyard.training import Identity, InstanceView, Launch, ProgressSource, RenderError
from modelyard.training.policies.readiness import (
    WATCHED,
    Dependency,
    OnTimeout,
    Readiness,
    ReadinessKind,
    is_met,
    unmet,
)
from modelyard.training.policies.restarts import Cause
from modelyard.training.rendering.scope import Surroundings
from services.trainer.jobs import asking, checkpoints, endings, hangs, reachability, timers
from services.trainer.jobs.acts import Act
from services.trainer.jobs.facts import facts_of
from services.trainer.model import PLACED, Checkpoint, ConditionKind, Exit, InstanceState, JobState
from services.trainer.state.effects import LaunchInstance
from services.trainer.state.jobs import Instance


def launch_ready(act: Act) -> None:
    """Every seated instance whose edges are met starts. Starting one may let others start in the same step."""
    if act.job.state not in PLACED or act.job.is_suspending or act.live.closing:
        # What is being closed may still give the checkpoint that is to be gone on from.
        return
    for role in act.plan.roles:
        waiting = [one for one in act.live.of_role(role.name) if one.state is InstanceState.SEATED]
        if not waiting or not _has_peers(act):
            continue
        if not reachability.is_clear(act):
            return
        unmet_edge = next((edge for edge in act.plan.edges(role.name) if not edge_is_met(act, edge)), None)
        for instance in waiting:
            if _is_in_wave(act, instance):
                continue
            if unmet_edge is None:
                launch(act, instance)
            else:
                _wait(act, instance, unmet_edge)


def _has_peers(act: Act) -> bool:
    """Whether all who must start together have an address: what is rendered names them."""
    for planned in act.plan.roles:
        of_role = act.live.of_role(planned.name)
        least = min(planned.gang_least, len(of_role))
        if sum(one.address is not None or one.state.has_ended for one in of_role) < least:
            return False
    return True


def _is_in_wave(act: Act, instance: Instance) -> bool:
    return any(instance.key in wave.keys for wave in act.job.waves)


def _wait(act: Act, instance: Instance, edge: Dependency) -> None:
    """Until its time is over."""
    if not edge.timeout_s or act.now < timers.edge_ms(instance, edge.timeout_s):
        reason = f"{edge.role} is not {_words(act, edge)}"
        if instance.message != reason:
            instance.reason, instance.message = "DEPENDENCY", reason
            act.touch_instance(instance)
        return
    if edge.on_timeout is OnTimeout.START_ANYWAY:
        launch(act, instance)
        return
    message = f"{edge.role} was not {_words(act, edge)} within {edge.timeout_s:g} s"
    endings.ended(
        act, instance, Exit(epoch=instance.epoch, cause=Cause.NOT_READY, message=message, end_ms=act.now)
    )


def _words(act: Act, edge: Dependency) -> str:
    if edge.until.kind is not ReadinessKind.FUNCTION:
        return str(edge.until.kind.value)
    complaint = asking.complaint(act, edge.role)
    return f"ready by its function {edge.until.function}" + (f" ({complaint})" if complaint else "")


def edge_is_met(act: Act, edge: Dependency) -> bool:
    """Whether enough of the other role show the sign; a role that was scaled to nobody is not waited for."""
    return not act.job.counts.get(edge.role) or is_met(edge, facts_of(act, edge.role))


def missing(act: Act, edge: Dependency) -> list[int]:
    """Indexes of those that do not show it."""
    return unmet(edge, facts_of(act, edge.role))


def launch(act: Act, instance: Instance) -> None:
    """Epoch + 1 is on disk before the command leaves; the same epoch again changes nothing at the agent (I2)."""
    assert instance.address is not None
    # What is made of it names the epoch that it is made for.
    instance.address = msgspec.structs.replace(instance.address, epoch=instance.epoch + 1)
    if asking.is_coded(act, instance.role, "create"):
        at, _ = _surroundings(act, instance)
        if asking.create(act, instance, instance.epoch + 1, at) is None:
            # It waits at its seat for the answer.
            return
    instance.epoch += 1
    instance.signs, instance.is_started, instance.exit = [], False, None
    instance.metrics, instance.progress = {}, None
    act.job.start_ms = act.job.start_ms or act.now
    act.set(instance, InstanceState.STARTING)
    send_launch(act, instance)
    if instance.epoch > 1:
        # It is a new one at its address: who watches may want to meet it anew.
        act.publish()


def send_launch(act: Act, instance: Instance) -> None:
    """The command; sent again after every greeting at which the seat has a lower epoch."""
    act.live.unsent.discard(instance.key)
    job, address = act.job, instance.address
    assert address is not None
    at, resumed = _surroundings(act, instance)
    try:
        rendered = _made(act, instance, at)
    except RenderError as error:
        found = Exit(
            epoch=instance.epoch, cause=Cause.SETUP, message=f"{error.path}: {error.message}", end_ms=act.now
        )
        endings.ended(act, instance, found)
        return
    if rendered is None:
        act.live.unsent.add(instance.key)
        return
    act.effects.wishes.append(
        LaunchInstance(
            job.number, instance.role, instance.index, instance.task, address.node, instance.epoch, rendered,
            act.plan.signs(instance.role), _progress_from(act, instance.role), resumed,
            act.plan.job.hang.silent_s,
        )
    )  # fmt: skip


def send_unsent(act: Act) -> None:
    """Those for which the answer that says how has come."""
    for key in [*act.live.unsent]:
        instance = act.live.instances.get(key)
        if instance is not None and instance.state is InstanceState.STARTING:
            send_launch(act, instance)
        else:
            act.live.unsent.discard(key)


def look(act: Act) -> None:
    """Readiness that only a function can see is asked for."""
    if asking.is_looking(act):
        asking.look(act, _seen(act, Identity(id=f"j-{act.job.number}", account=act.job.account)))


def _seen(act: Act, identity: Identity) -> Surroundings:
    book = {one.key: one.address for one in act.live.instances.values() if one.address is not None}
    return act.plan.surroundings(identity, book, act.job.counts)


def _made(act: Act, instance: Instance, at: Surroundings) -> Launch | None:
    """None: a package's code is asked. Raises RenderError."""
    if not asking.is_coded(act, instance.role, "create"):
        return act.plan.launch(at, instance.role, instance.index)
    found = asking.create(act, instance, instance.epoch, at)
    if found is None:
        return None
    if found.error:
        raise RenderError(found.error, "create")
    return act.plan.dressed(found.value, InstanceView(at, at.roles[instance.role], instance.index), at)


def _surroundings(act: Act, instance: Instance) -> tuple[Surroundings, Checkpoint | None]:
    """What it is made of, and what it goes on from."""
    job, address = act.job, instance.address
    assert address is not None
    resumed = checkpoints.resumed(act, instance)
    directory = checkpoints.directory_of(checkpoints.wanted(act), address.directory)
    identity = Identity(
        id=f"j-{job.number}", account=job.account, restarts=job.restarts, checkpoint_dir=directory,
        resume_from=f"{directory}/{resumed.name}" if resumed is not None else "",
    )  # fmt: skip
    return _seen(act, identity), resumed


def _progress_from(act: Act, role: str) -> ProgressSource:
    planned = act.plan.role(role)
    return planned.role.progress_from if planned is not None else ProgressSource()


def watched(signs: tuple[Readiness, ...]) -> list[tuple[int, Readiness]]:
    """Those that the agent looks for, by number."""
    return [(number, sign) for number, sign in enumerate(signs) if sign.kind in WATCHED]


def started(act: Act, instance: Instance, epoch: int) -> None:
    """Its processes run."""
    if instance.epoch != epoch or instance.state is not InstanceState.STARTING:
        return
    instance.is_started, instance.start_ms = True, act.now
    hangs.started(act, instance)
    act.set(instance, InstanceState.RUNNING)


def run(act: Act) -> None:
    """A job of which every role runs, runs."""
    if act.job.state not in (JobState.STARTING, JobState.RESTARTING) or act.job.waves:
        return
    ready = (InstanceState.RUNNING, InstanceState.SUCCEEDED)
    if all(one.state in ready for one in act.live.instances.values()):
        act.set_job(JobState.RUNNING)
        act.condition(ConditionKind.RUNNING, is_true=True, reason="EVERY_ROLE_RUNS")
        for kind in (ConditionKind.RESTARTING, ConditionKind.HANGING):
            act.condition(kind, is_true=False, reason="EVERY_ROLE_RUNS")
    elif act.job.state is JobState.RESTARTING:
        act.set_job(JobState.STARTING)
