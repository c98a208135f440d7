"""What becomes of the catalogue: events in, rows, work and answers out. Pure: no clock, no I/O.

A version's way is in `ways.py`; here are models, aliases, and who is handed what. The transition table is the README's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from services.chassis.errors import ServiceError
from services.models.catalogue import effects as e
from services.models.catalogue import events as ev
from services.models.catalogue.model import (
    AliasStale,
    ConfigStale,
    ModelFull,
    ModelNotFound,
    ModelStale,
    ModelVersionNotFound,
    VersionInUse,
    VersionIsInspected,
    VersionNotReady,
    VersionState,
)
from services.models.catalogue.state import Live, Model, Revision, State, Version
from services.models.catalogue.ways import Way, holder_of
from services.models.quotas import NO_QUOTA, NOTHING, changed, check_version

ALIASES_MOST = 100
LABELS_MOST = 64
ACCOUNTS_MOST = 1_000


def step(state: State, events: Sequence[ev.Event], now_ms: int) -> e.Effects:
    """Changes the state, and says what has to follow. Refusals are answers."""
    machine = _Machine(state, now_ms)
    for event in events:
        machine.take(event)
    return machine.finished()


class _Machine:
    def __init__(self, state: State, now_ms: int) -> None:
        self._state = state
        self._now_ms = now_ms
        self._effects = e.Effects()

    def take(self, event: ev.Event) -> None:
        if isinstance(event, ev.WorkEvent):
            live = self._state.find(event.model, event.version)
            # What was cancelled, or begun anew, tells nothing any more.
            if (
                live is not None
                and live.version.work is not None
                and live.version.work.number == event.number
            ):
                self._way(live).on_work(event)
            return
        assert isinstance(event, ev.Asking)
        try:
            model, version, was_there = _HANDLERS[type(event)](self, event)
        except ServiceError as error:
            self._effects.answers.append(e.Answer(event.reply, error=error))
            return
        self._effects.answers.append(e.Answer(event.reply, model, version, was_there))

    def finished(self) -> e.Effects:
        """Rows of what was touched, each once, as it is now."""
        effects, found = self._effects, list[e.Row]()
        for name, number in sorted(effects.changed):
            if not number:
                found.append(e.PutModel(self._state.models[name]))
                continue
            live = self._state.find(name, number)
            if live is not None:
                found.append(e.PutVersion(live.version))
                assert live.latest is not None
                found.append(e.PutRevision(name, number, live.latest))
        effects.rows = found + effects.rows
        return effects

    def _way(self, live: Live) -> Way:
        return Way(self._state, live, self._effects, self._now_ms)

    def _model(self, name: str) -> Model:
        model = self._state.models.get(name)
        if model is None:
            raise ModelNotFound(f"there is no model {name[:100]!r}", field="model", next_step="yard model ls")
        return model

    def _live(self, name: str, number: int, field: str = "version") -> Live:
        live = self._state.find(name, number)
        if live is None:
            raise missing_version(name, str(number), field)
        return live

    def _touch(self, model: Model) -> None:
        self._state.revision += 1
        model.revision = self._state.revision
        self._effects.changed.add((model.name, 0))

    # What is asked for

    def create(self, event: ev.VersionCreated) -> tuple[str, int, bool]:
        model = self._state.models.get(event.model)
        same = self._same(model, event) if model is not None else None
        if same is not None:
            return event.model, same, True
        size_bytes = sum(size for _, _, size in event.files)
        check_room(self._state, event.account, size_bytes)
        if model is None:
            model = Model(name=event.model, account=event.account, create_ms=self._now_ms)
            self._state.models[event.model] = model
        model.summary = event.summary or model.summary
        model.last_number += 1
        self._touch(model)
        version = Version(
            model=event.model, version=model.last_number, account=event.account, files=event.files,
            digest=event.digest, size_bytes=size_bytes, create_ms=self._now_ms,
            labels=event.labels, lineage=event.lineage,
        )  # fmt: skip
        revision = Revision(
            revision=1, declared=event.declared, account=event.account, create_ms=self._now_ms,
            document=event.declared, state=VersionState.INSPECTING,
        )  # fmt: skip
        live = Live(version, latest=revision)
        version.last_config = 1
        self._state.versions.setdefault(event.model, {})[version.version] = live
        digests = tuple(sorted({digest for _, digest, _ in event.files}))
        self._effects.wishes.append(e.Hold(event.account, holder_of(event.model, version.version), digests))
        self._way(live).begin()
        return event.model, version.version, False

    def _same(self, model: Model, event: ev.VersionCreated) -> int | None:
        """The latest version, where it is what is handed in once more; one that failed is another try."""
        live = self._state.find(model.name, model.last_number)
        if live is None or live.version.state is VersionState.FAILED or live.latest is None:
            return None
        version = live.version
        same = (
            version.digest == event.digest
            and version.labels == event.labels
            and version.lineage == event.lineage
            and (live.latest.revision > 1 or live.latest.declared == event.declared)
        )
        return version.version if same else None

    def update(self, event: ev.ModelUpdated) -> tuple[str, int, bool]:
        model = self._model(event.model)
        if event.revision and event.revision != model.revision:
            raise ModelStale(
                f"{event.model} has revision {model.revision}, not {event.revision}", field="revision",
                next_step="read it again, and repeat",
            )  # fmt: skip
        labels = {**model.labels, **event.labels}
        labels = {name: value for name, value in labels.items() if value}
        access = {**model.access, **event.access}
        if len(labels) > LABELS_MOST:
            raise ModelFull(f"a model has at most {LABELS_MOST} labels", field="labels")
        if len(access) > ACCOUNTS_MOST:
            raise ModelFull(f"a model has at most {ACCOUNTS_MOST} accounts", field="access")
        model.labels, model.access = labels, {name: role for name, role in access.items() if role is not None}
        if event.summary is not None:
            model.summary = event.summary
        self._touch(model)
        return event.model, 0, False

    def set_alias(self, event: ev.AliasSet) -> tuple[str, int, bool]:
        model, live = self._model(event.model), self._live(event.model, event.version)
        if not live.version.config_revision:
            raise not_ready(live.version, "version")
        present = model.aliases.get(event.alias, 0)
        if event.from_version and event.from_version != present:
            told = f"version {present}" if present else "nothing"
            raise AliasStale(
                f"{event.alias} of {event.model} points at {told}, not at version {event.from_version}",
                field="from_version", next_step=f"yard model history {event.model} {event.alias}",
            )  # fmt: skip
        if present == event.version:
            return event.model, event.version, True
        if not present and len(model.aliases) >= ALIASES_MOST:
            raise ModelFull(f"a model has at most {ALIASES_MOST} aliases", field="alias")
        model.aliases = {**model.aliases, event.alias: event.version}
        self._changed_alias(model, event, present, event.version)
        return event.model, event.version, False

    def delete_alias(self, event: ev.AliasDeleted) -> tuple[str, int, bool]:
        model = self._model(event.model)
        present = model.aliases.get(event.alias, 0)
        if not present:
            raise missing_version(event.model, event.alias, "alias")
        model.aliases = {name: number for name, number in model.aliases.items() if name != event.alias}
        self._changed_alias(model, event, present, 0)
        return event.model, present, False

    def _changed_alias(
        self, model: Model, event: ev.AliasSet | ev.AliasDeleted, before: int, after: int
    ) -> None:
        self._touch(model)
        self._effects.rows.append(
            e.InsertAliasChange(
                model=model.name, alias=event.alias, from_version=before, to_version=after, account=event.account,
                comment=event.comment, time_ms=self._now_ms,
            )
        )  # fmt: skip

    def put_config(self, event: ev.ConfigPut) -> tuple[str, int, bool]:
        live = self._live(event.model, event.version)
        version, latest = live.version, live.latest
        assert latest is not None
        # What failed is in nobody's way who started from what serves.
        is_stale = event.based_on != version.last_config and not (
            latest.state is VersionState.FAILED and event.based_on == version.config_revision
        )
        if event.based_on and is_stale:
            raise ConfigStale(
                f"the configuration of {event.model}:{event.version} has revision {version.last_config} by now, not"
                f" {event.based_on}", field="revision",
                next_step=f"yard model config get {event.model}:{event.version}",
            )  # fmt: skip
        if version.state is VersionState.INSPECTING:
            raise VersionIsInspected(
                field="version", next_step=f"yard model get {event.model}:{event.version} --follow"
            )
        if latest.declared == event.document and latest.state is not VersionState.FAILED:
            return event.model, event.version, True
        self._way(live).put(event)
        return event.model, event.version, False

    def delete(self, event: ev.VersionDeleted) -> tuple[str, int, bool]:
        model, live = self._model(event.model), self._live(event.model, event.version)
        named = sorted(alias for alias, number in model.aliases.items() if number == event.version)
        if named:
            raise VersionInUse(
                f"{event.model}:{event.version} is what {', '.join(named[:8])} points at", field="version",
                next_step=f"yard model alias rm {event.model} {named[0]}",
            )  # fmt: skip
        self._way(live).drop()
        del self._state.versions[event.model][event.version]
        self._effects.changed.discard((event.model, event.version))
        self._touch(model)
        self._effects.rows.append(e.DropVersion(event.model, event.version))
        holder = holder_of(event.model, event.version)
        self._effects.wishes.append(e.Hold(live.version.account, holder, ()))
        return event.model, event.version, False

    def set_quota(self, event: ev.QuotaSet) -> tuple[str, int, bool]:
        before = self._state.quotas.get(event.account, NO_QUOTA)
        after = changed(before, event.given)
        if after == NO_QUOTA:
            self._state.quotas.pop(event.account, None)
            self._effects.rows.append(e.DropQuota(event.account))
        else:
            self._state.quotas[event.account] = after
            self._effects.rows.append(e.PutQuota(event.account, after))
        return "", 0, False


_HANDLERS: dict[type[ev.Asking], Callable[[_Machine, Any], tuple[str, int, bool]]] = {
    ev.VersionCreated: _Machine.create,
    ev.ModelUpdated: _Machine.update,
    ev.AliasSet: _Machine.set_alias,
    ev.AliasDeleted: _Machine.delete_alias,
    ev.ConfigPut: _Machine.put_config,
    ev.VersionDeleted: _Machine.delete,
    ev.QuotaSet: _Machine.set_quota,
}


def check_room(state: State, account: str, more_bytes: int) -> None:
    """Whether the account may have one more version of this size. Raises ModelQuotaExceeded."""
    quota = state.quotas.get(account, NO_QUOTA)
    if quota.max_versions or quota.max_component_bytes:
        check_version(account, quota, state.holdings().get(account, NOTHING), more_bytes)


def missing_version(model: str, version: str, field: str = "version") -> ModelVersionNotFound:
    """It names what is there in the next step."""
    return ModelVersionNotFound(
        f"{model} has no version and no alias {version[:80]!r}",
        field=field,
        next_step=f"yard model get {model}",
    )


def not_ready(version: Version, field: str) -> VersionNotReady:
    """Why a version cannot be called, or named."""
    why = version.message or {VersionState.INSPECTING: "its files are being looked at"}.get(
        version.state, "it is being tried"
    )
    return VersionNotReady(
        f"{version.model}:{version.version} is {version.state.value.replace('_', ' ')}: {why}", field=field,
        next_step=f"yard model get {version.model}:{version.version}", metadata={"state": version.state.value},
    )  # fmt: skip
