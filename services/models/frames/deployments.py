"""What somebody asks to be served: taken, changed, taken back; and whether it is there. Pure."""

from __future__ import annotations

from services.models.frames import events as ev
from services.models.frames import wanted
from services.models.frames.acts import Act
from services.models.frames.effects import Answer, InsertChange
from services.models.frames.model import (
    DeploymentNotFound,
    DeploymentStale,
    DeploymentState,
    DeploymentTaken,
    NothingBefore,
)
from services.models.frames.state import Deployment, MirrorWish, RouteWish, Target, name_of
from services.models.seams import VersionKey


def deploy(act: Act, event: ev.Deployed) -> None:
    """A new one, or another wish for the same name."""
    known = act.state.deployments.get(event.name)
    if known is not None and known.account != event.account:
        raise DeploymentTaken(
            f"the name {event.name!r} is used by another account's deployment", field="name",
            next_step="give the deployment another name",
        )  # fmt: skip
    if known is None:
        known = Deployment(
            name=event.name,
            account=event.account,
            routes=event.routes,
            mirror=event.mirror,
            create_ms=act.now,
        )
        act.state.deployments[event.name] = known
        before: dict[str, VersionKey | None] = {}
    else:
        before = _keys(known)
        _weigh(known, event.routes, event.mirror)
    known.sticky, known.settings, known.targets = event.sticky, event.settings, event.targets
    _changed(act, known, event.account, "deploy", "", before)
    act.effects.answers.append(Answer(event.reply))


def modify(act: Act, event: ev.Modified) -> None:
    """What is not said stays."""
    found = _find(act, event.name, event.account)
    if event.revision and event.revision != found.wish_revision:
        raise DeploymentStale(
            f"{event.name} was changed since revision {event.revision}; it is at {found.wish_revision}",
            field="revision", next_step="look at it again: yard model deployments",
        )  # fmt: skip
    before = _keys(found)
    mirror = None if event.without_mirror else event.mirror or found.mirror
    routes = found.routes if event.routes is None else event.routes
    if (routes, mirror) != (found.routes, found.mirror):
        _weigh(found, routes, mirror)
    if event.sticky is not None:
        found.sticky = event.sticky
    if event.settings is not None:
        found.settings = event.settings.over(found.settings)
    found.targets = event.targets
    _changed(act, found, event.account, "modify", event.comment, before)
    act.effects.answers.append(Answer(event.reply))


def roll_back(act: Act, event: ev.RolledBack) -> None:
    """Holds for the next call: its frames are mostly still warm, and where they are not the call waits for one.
    What was withdrawn stands in for nobody."""
    found = _find(act, event.name, event.account)
    if found.before is None:
        raise NothingBefore(
            f"the weights of {event.name} have not been changed", next_step="yard model modify sets them"
        )
    _weigh(found, found.before.routes, found.before.mirror)
    found.targets, found.standby = event.targets, {}
    _changed(act, found, event.account, "rollback", event.comment, {})
    act.effects.answers.append(Answer(event.reply))


def undeploy(act: Act, event: ev.Undeployed) -> None:
    """Its frames end, unless somebody else wants them."""
    found = _find(act, event.name, event.account)
    keys = {target.key for target in found.targets} | set(found.standby.values())
    found.state, found.reason, found.message = DeploymentState.UNDEPLOYED, "", ""
    _changed(act, found, event.account, "undeploy", "", {})
    act.state.undeployed[event.name] = act.state.deployments.pop(event.name)
    counts, _ = wanted.kept(act.state)
    for frame in [*act.state.frames.values()]:
        is_demanded = any(key == frame.key for key, _ in act.state.demands)
        if frame.key in keys and not counts[frame.key] and not is_demanded and not frame.is_held:
            act.drain(frame, "UNDEPLOYED", f"{event.name} was undeployed")
    act.effects.answers.append(Answer(event.reply))


def targets_found(act: Act, event: ev.TargetsFound) -> None:
    """What its routes come to has changed without anybody's wish for it."""
    found = act.state.deployments.get(event.name)
    if found is None or found.wish_revision != event.wish_revision or found.targets == event.targets:
        return
    before = _keys(found)
    found.targets = event.targets
    wanted.take_over(act, found, before)


def _find(act: Act, name: str, account: str) -> Deployment:
    """`account` empty: anybody's."""
    found = act.state.deployments.get(name)
    if found is None or account not in ("", found.account):
        raise DeploymentNotFound(
            f"there is no deployment {name[:80]!r}, or it is not yours", field="name",
            next_step="yard model deployments lists yours",
        )  # fmt: skip
    return found


def _weigh(found: Deployment, routes: tuple[RouteWish, ...], mirror: MirrorWish | None) -> None:
    found.before = found.weights
    found.routes, found.mirror = routes, mirror


def _keys(found: Deployment) -> dict[str, VersionKey | None]:
    """What its routes come to, by their words."""
    pairs = zip(found.routes, found.targets, strict=False)
    return {f"{route.model}:{route.version}": target.key for route, target in pairs}


def _changed(
    act: Act, found: Deployment, account: str, what: str, comment: str, before: dict[str, VersionKey | None]
) -> None:
    act.state.revision += 1
    found.wish_revision = act.state.revision
    found.change_ms = act.now
    act.touch_deployment(found)
    act.effects.rows.append(InsertChange(found, account, what, comment, act.now))
    if found.state is not DeploymentState.UNDEPLOYED:
        wanted.take_over(act, found, before)


def judge(act: Act, found: Deployment) -> None:
    """Whether what it asks for is there."""
    problems: list[tuple[str, str]] = []
    lacking: list[str] = []
    serving = 0
    counts = {shape.key: count for shape, count in found.wanted()}
    for number, target in enumerate(found.targets):
        is_route = number < len(found.routes)
        if is_route and not found.routes[number].weight:
            continue
        ready = len(act.state.ready(target.key)) if target.key is not None else 0
        problem = _problem(act, target, ready)
        if problem is not None:
            problems.append(problem)
        elif target.key is not None and ready < counts.get(target.key, 0):
            lacking.append(
                f"{target.key.model} version {target.key.version}: {ready} of {counts[target.key]}"
            )
        if is_route and (
            ready or (target.key is not None and _stands_in(act, found, target.key)) or not problem
        ):
            serving += 1
    if problems:
        state = DeploymentState.DEGRADED if serving else DeploymentState.FAILED
        reason, message = problems[0]
    elif lacking:
        state, reason, message = DeploymentState.LOADING, "FRAMES", "; ".join(lacking)
    else:
        state, reason, message = DeploymentState.READY, "", ""
    if (state, reason, message) != (found.state, found.reason, found.message):
        found.state, found.reason, found.message = state, reason, message
        act.touch_deployment(found)


def _stands_in(act: Act, found: Deployment, key: VersionKey) -> bool:
    old = found.standby.get(name_of(key))
    return old is not None and bool(act.state.ready(old))


def _problem(act: Act, target: Target, ready: int) -> tuple[str, str] | None:
    if target.key is None:
        return "VERSION", target.problem
    failure = act.state.failures.get(target.key)
    if failure is None or ready:
        return None
    return failure.reason, f"{target.key.model} version {target.key.version}: {failure.message}"
