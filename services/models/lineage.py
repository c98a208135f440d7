"""What the models service knows of where things come from: what made versions, who serves and calls them.

Who may see a model sees its versions' links; what belongs to another account is hidden in them. Reads; changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping

from modelyard.v1 import lineage_pb2 as pb
from services.chassis.errors import NotFound
from services.chassis.rpc.lineage import BESIDE, DOWN, UP, Ask, Found, Source, hidden, link, paged, thing
from services.chassis.security import ADMIN, Principal
from services.models.catalogue import access
from services.models.catalogue.engine import Engine
from services.models.catalogue.model import Role
from services.models.catalogue.state import Lineage, Model, Version
from services.models.catalogue.usage import Usage
from services.models.catalogue.versions import Catalogue, is_number
from services.models.frames.model import DeploymentState, FrameState
from services.models.frames.room import FramesRoom
from services.models.frames.state import Deployment, Frame

_PARENT = re.compile(r"(?:([A-Za-z0-9._-]+):)?([0-9]{1,9})")


class NothingServed(NotFound):
    """There is no such deployment or frame, or it is not yours to see."""


class ModelLineage:
    """Of versions, aliases, deployments and frames, and of what made or called versions."""

    def __init__(
        self,
        engine: Engine,
        catalogue: Catalogue,
        usage: Usage,
        frames: FramesRoom,
        counted: Callable[[], Awaitable[None]],
    ) -> None:
        """`counted`: keeps what was counted of calls and is not in the table yet."""
        self._counted = counted
        self._engine = engine
        self._catalogue = catalogue
        self._usage = usage
        self._frames = frames.engine

    def sources(self) -> Mapping[int, Source]:
        return {
            pb.THING_KIND_MODEL_VERSION: self.version, pb.THING_KIND_ALIAS: self.alias,
            pb.THING_KIND_DEPLOYMENT: self.deployment, pb.THING_KIND_FRAME: self.frame,
            pb.THING_KIND_CALLS: self.calls, pb.THING_KIND_TASK: self.task,
            pb.THING_KIND_JOB: self.job, pb.THING_KIND_RUN: self.run,
        }  # fmt: skip

    async def version(self, ask: Ask) -> Found:
        """ "iris:3", "iris:champion", "iris". Raises ModelNotFound, ModelVersionNotFound."""
        name, _, wanted = ask.id.partition(":")
        async with self._engine.quiet:
            model = self._model(ask.caller, name)
            live = self._catalogue.find(model, wanted)
            links = [*_origins(ask.caller, live.version), *self._served(ask.caller, model, live.version)]
        one = live.version
        await self._counted()
        accounts = await self._usage.accounts(one.model, one.version)
        links += _calls(ask.caller, model, one, accounts)
        is_all = ask.caller.role == ADMIN or ask.caller.account == model.account
        account = None if is_all else ask.caller.account
        # As many as all pages up to this one have: those behind them come with the next.
        most = ask.offset + ask.most + 1
        for caller in await self._usage.tasks(one.model, one.version, account, 0, most):
            task = thing(pb.THING_KIND_TASK, caller.task, time_ms=caller.last_ms, account=caller.account)
            is_own = ask.caller.role == ADMIN or caller.account == ask.caller.account
            shown = task if is_own else hidden(pb.THING_KIND_TASK)
            links.append(link(DOWN, shown, f"called {caller.calls} times by"))
        return paged(ask, _version_thing(one), links)

    async def alias(self, ask: Ask) -> Found:
        """ "iris@champion". Raises ModelNotFound, ModelVersionNotFound."""
        name, _, alias = ask.id.partition("@")
        async with self._engine.quiet:
            model = self._model(ask.caller, name)
            if is_number(alias):
                alias = ""
            live = self._catalogue.find(model, alias or "@")
            links = [link(UP, _version_thing(live.version), "points at")]
        if ask.wants(UP):
            past = await self._engine.store.history(model.name, alias, 1 << 60, 100)
            numbers = dict.fromkeys(one.from_version for one in past)
            numbers.pop(0, None)
            numbers.pop(live.version.version, None)
            links += [
                link(UP, thing(pb.THING_KIND_MODEL_VERSION, f"{name}:{number}"), "pointed at")
                for number in numbers
            ]
        return paged(ask, thing(pb.THING_KIND_ALIAS, ask.id, account=model.account), links)

    async def deployment(self, ask: Ask) -> Found:
        """Raises NothingServed."""
        async with self._frames.quiet:
            found = self._frames.state.deployments.get(ask.id)
            if found is None or not self._sees(ask.caller, found):
                raise NothingServed
            keys = {target.key for target in found.targets if target.key is not None}
            links = [
                link(UP, thing(pb.THING_KIND_MODEL_VERSION, f"{key.model}:{key.version}"), "serves")
                for key in sorted(keys)
            ]
            return paged(ask, _deployment_thing(found), links)

    async def frame(self, ask: Ask) -> Found:
        """Raises NothingServed."""
        number = ask.id.removeprefix("f-")
        async with self._frames.quiet:
            found = self._frames.state.frames.get(int(number)) if is_number(number) else None
            if found is None or not self._may(ask.caller, found.key.model, Role.VIEWER):
                raise NothingServed
            key = found.key
            links = [link(UP, thing(pb.THING_KIND_MODEL_VERSION, f"{key.model}:{key.version}"), "loads")]
            task = found.task or found.last_task
            if task and ask.caller.account == found.shape.account:
                links.append(link(BESIDE, thing(pb.THING_KIND_TASK, task), "seat"))
            return paged(ask, _frame_thing(found), links)

    async def calls(self, ask: Ask) -> Found:
        """ "iris:3/ada". Raises ModelNotFound, ModelVersionNotFound."""
        name, _, account = ask.id.partition("/")
        async with self._engine.quiet:
            model = self._model(ask.caller, name.partition(":")[0])
            one = self._catalogue.find(model, name.partition(":")[2]).version
        await self._counted()
        accounts = await self._usage.accounts(one.model, one.version)
        mine = [found for found in _calls(ask.caller, model, one, accounts) if found.thing.account == account]
        if not account or not mine:
            raise NothingServed
        return paged(ask, mine[0].thing, [link(UP, _version_thing(one), "calls of")])

    async def task(self, ask: Ask) -> Found:
        """What it pushed, and what it called."""
        links = await self._pushed(ask, lambda lineage: lineage.task_id)
        await self._counted()
        for found in await self._usage.of_task(ask.id):
            if ask.caller.role == ADMIN or found.account == ask.caller.account:
                other = thing(pb.THING_KIND_MODEL_VERSION, f"{found.model}:{found.version}")
                links.append(link(UP, other, f"called {found.calls} times"))
        return paged(ask, None, links)

    async def job(self, ask: Ask) -> Found:
        """Versions that say that they are of this job."""
        return paged(ask, None, await self._pushed(ask, lambda lineage: lineage.job_id))

    async def run(self, ask: Ask) -> Found:
        """Versions that say that they are of this run."""
        return paged(ask, None, await self._pushed(ask, lambda lineage: lineage.run_id))

    async def _pushed(self, ask: Ask, origin: Callable[[Lineage], str]) -> list[pb.Link]:
        async with self._engine.quiet:
            return [
                link(DOWN, _version_thing(live.version), "pushed")
                for live in self._engine.state.all()
                if origin(live.version.lineage) == ask.id
                and (ask.caller.role == ADMIN or ask.caller.account == live.version.account)
            ]

    def _model(self, caller: Principal, name: str) -> Model:
        return access.require(caller, self._engine.state.models.get(name), name, Role.VIEWER)

    def _may(self, caller: Principal, model: str, role: Role) -> bool:
        return caller.role == ADMIN or self._catalogue.may(caller.account, model, role.value)

    def _sees(self, caller: Principal, found: Deployment) -> bool:
        """As DeploymentService lets it be seen."""
        if found.state is DeploymentState.UNDEPLOYED:
            return False
        is_own = caller.role == ADMIN or caller.account == found.account
        return is_own or all(self._may(caller, one.model, Role.CALLER) for one in found.routes)

    def _served(self, caller: Principal, model: Model, one: Version) -> Iterator[pb.Link]:
        """By which names it is called, where it is loaded, what says that it comes from it."""
        for alias, number in sorted(model.aliases.items()):
            if number == one.version:
                named = thing(pb.THING_KIND_ALIAS, f"{one.model}@{alias}", account=model.account)
                yield link(DOWN, named, "alias")
        for name in self._catalogue.named_by(one.model, one.version):
            found = self._frames.state.deployments[name]
            is_seen = self._sees(caller, found)
            yield link(
                DOWN, _deployment_thing(found) if is_seen else hidden(pb.THING_KIND_DEPLOYMENT), "served by"
            )
        for frame in self._frames.state.frames.values():
            if (frame.key.model, frame.key.version) == (
                one.model,
                one.version,
            ) and frame.state is FrameState.READY:
                yield link(DOWN, _frame_thing(frame), f"loaded on {frame.at_node}")
        for other in self._engine.state.all():
            if _parent(other.version) == (one.model, one.version) and self._may(
                caller, other.version.model, Role.VIEWER
            ):
                yield link(DOWN, _version_thing(other.version), "parent of")


def _version_thing(one: Version) -> pb.Thing:
    return thing(
        pb.THING_KIND_MODEL_VERSION, f"{one.model}:{one.version}", name=one.format, state=one.state.value,
        time_ms=one.create_ms, account=one.account,
    )  # fmt: skip


def _deployment_thing(found: Deployment) -> pb.Thing:
    return thing(
        pb.THING_KIND_DEPLOYMENT,
        found.name,
        state=found.state.value,
        time_ms=found.change_ms,
        account=found.account,
    )


def _frame_thing(found: Frame) -> pb.Thing:
    return thing(
        pb.THING_KIND_FRAME, f"f-{found.number}", name=found.at_node, state=found.state.value, time_ms=found.ready_ms,
        account=found.shape.account,
    )  # fmt: skip


def _origins(caller: Principal, one: Version) -> Iterator[pb.Link]:
    """What it was made of and by; another account's is hidden."""
    is_own = caller.role == ADMIN or caller.account == one.account

    def named(kind: pb.ThingKind.ValueType, id: str, name: str = "") -> pb.Thing:
        return thing(kind, id, name=name) if is_own else hidden(kind)

    for path, digest, _ in one.files if is_own else one.files[:1]:
        yield link(
            UP, named(pb.THING_KIND_ARTIFACT, digest, path), f"component {path}" if is_own else "component"
        )
    lineage = one.lineage
    part = f" {lineage.part}" if lineage.part and is_own else ""
    for kind, id in (
        (pb.THING_KIND_JOB, lineage.job_id), (pb.THING_KIND_RUN, lineage.run_id), (pb.THING_KIND_TASK, lineage.task_id),
    ):  # fmt: skip
        if id:
            yield link(UP, named(kind, id), f"pushed from{part}")
    if (parent := _parent(one)) is not None:
        yield link(UP, thing(pb.THING_KIND_MODEL_VERSION, "{}:{}".format(*parent)), "parent")


def _parent(one: Version) -> tuple[str, int] | None:
    """The version that it names as its parent; another text names none."""
    found = _PARENT.fullmatch(one.lineage.parent)
    return (found[1] or one.model, int(found[2])) if found else None


def _calls(
    caller: Principal, model: Model, one: Version, accounts: list[tuple[str, int, int]]
) -> Iterator[pb.Link]:
    """By account; who is neither its owner nor an administrator sees their own, and that there are others."""
    sees_all = caller.role == ADMIN or caller.account == model.account
    others = 0
    for account, count, last_ms in accounts:
        if sees_all or account == caller.account:
            made = thing(
                pb.THING_KIND_CALLS, f"{one.model}:{one.version}/{account}", name=f"{count} calls", time_ms=last_ms,
                account=account,
            )  # fmt: skip
            yield link(DOWN, made, "called by")
        else:
            others += count
    if others:
        yield link(DOWN, hidden(pb.THING_KIND_CALLS), f"called {others} times by others")
