"""What the catalogue knows, in memory: models, versions, and of their configurations those that matter now. Pure.

What is said in `check_invariants` holds after every step.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from modelyard.models import Config, Inspection
from services.chassis.errors import InvariantViolation
from services.models.catalogue.model import Role, VersionState, WorkKind
from services.models.quotas import NOTHING, Holding, Quota
from services.models.surroundings.association import DEFAULT_RUNTIMES, RuntimeMap, TriedImage
from services.models.trust.words import NOBODY, Trust

File = tuple[str, str, int]
"""Path, sha256, bytes."""


class Model(msgspec.Struct):
    """A name, who owns it and who may do what with it."""

    name: str
    account: str
    create_ms: int
    summary: str = ""
    labels: dict[str, str] = {}
    access: dict[str, Role] = {}
    """By account; * is everybody."""
    aliases: dict[str, int] = {}
    last_number: int = 0
    """The highest version that there ever was."""
    revision: int = 0


class Lineage(msgspec.Struct, frozen=True):
    """Where a version comes from, as far as it is known."""

    job_id: str = ""
    run_id: str = ""
    task_id: str = ""
    part: str = ""
    parent: str = ""


class Asked(msgspec.Struct, frozen=True):
    """Something that only its owner knows."""

    field: str
    question: str
    choices: tuple[str, ...] = ()
    why: str = ""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """An inspection or a probe that is under way."""

    number: int
    kind: WorkKind
    revision: int
    """Of the configuration that it is for."""
    turn: int = 1
    """Counted: what is lost is done again."""
    libraries: tuple[str, ...] = ()
    """Of an inspection: what its look needs beside what agents have."""
    task: str = ""


class Revision(msgspec.Struct, kw_only=True):
    """One revision of a version's configuration."""

    revision: int
    declared: str
    """What its owner said, as text."""
    account: str
    create_ms: int
    document: str = ""
    """The whole model.yaml, as far as it is known."""
    facts: dict[str, list[object]] = {}
    """As modelyard.models.facts_out gives them."""
    state: VersionState = VersionState.PROBING
    reason: str = ""
    message: str = ""
    questions: tuple[Asked, ...] = ()
    config: Config | None = None
    golden_digest: str = ""
    golden_example: str = ""
    load_s: float = 0.0
    memory_bytes: int = 0
    image: TriedImage = TriedImage()
    """Of the container that it was tried in."""


class Version(msgspec.Struct, kw_only=True):
    """An immutable component under a number."""

    model: str
    version: int
    account: str
    """Who made it: its work runs for this account."""
    files: tuple[File, ...]
    digest: str
    size_bytes: int
    create_ms: int
    format: str = ""
    state: VersionState = VersionState.INSPECTING
    reason: str = ""
    message: str = ""
    questions: tuple[Asked, ...] = ()
    warnings: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    lineage: Lineage = Lineage()
    config_revision: int = 0
    """The one that serves."""
    last_config: int = 0
    ready_ms: int = 0
    revision: int = 0
    work: Work | None = None
    task: str = ""
    """That works for it, or did last."""


class Live(msgspec.Struct):
    """A version, with what is needed of its configurations."""

    version: Version
    inspection: Inspection | None = None
    """While something of it is to be determined."""
    serving: Revision | None = None
    latest: Revision | None = None


class State(msgspec.Struct):
    """All of it."""

    models: dict[str, Model] = {}
    versions: dict[str, dict[int, Live]] = {}
    revision: int = 0
    """Of the last change of anything."""
    next_work: int = 1
    trusted: Trust = NOBODY
    """Whose components may do what."""
    quotas: dict[str, Quota] = {}
    """By account; who is not in it has no limits."""
    runtimes: RuntimeMap = DEFAULT_RUNTIMES

    def find(self, model: str, version: int) -> Live | None:
        return self.versions.get(model, {}).get(version)

    def all(self) -> Iterator[Live]:
        for found in self.versions.values():
            yield from found.values()

    def holdings(self) -> dict[str, Holding]:
        """What each account has, that has anything."""
        found: dict[str, Holding] = {}
        for live in self.all():
            one = live.version
            before = found.get(one.account, NOTHING)
            found[one.account] = Holding(before.version_count + 1, before.component_bytes + one.size_bytes)
        return found

    def may_unpickle(self, version: Version) -> bool:
        return bool(self.trusted.opens(version.account, version.model, version.digest))

    def trusted_types(self, version: Version) -> tuple[str, ...]:
        """Of skops, beside those that it knows as harmless."""
        return self.trusted.constructs(version.account, version.model, version.digest)


def check_invariants(state: State) -> None:
    """Raises InvariantViolation."""
    numbers = set()
    for name, model in state.models.items():
        versions = state.versions.get(name, {})
        _require(all(number <= model.last_number for number in versions), f"{name}: a number is given twice")
        for alias, number in model.aliases.items():
            found = versions.get(number)
            _require(
                found is not None and found.version.config_revision > 0,
                f"{name}: {alias} points at nothing that serves",
            )
    for live in state.all():
        one = live.version
        where = f"{one.model}:{one.version}"
        _require(one.model in state.models, f"{where} has no model")
        _require(
            (one.state is VersionState.READY) == (one.config_revision > 0), f"{where}: READY is what serves"
        )
        _require(one.config_revision <= one.last_config, f"{where} serves what is not there")
        _require((live.serving is not None) == (one.config_revision > 0), f"{where}: what serves is at hand")
        if live.serving is not None:
            serving = live.serving
            _require(serving.revision == one.config_revision, f"{where}: another revision is at hand")
            _require(
                serving.config is not None and serving.state is VersionState.READY,
                f"{where} serves no whole one",
            )
        _require(
            live.latest is not None and live.latest.revision == one.last_config,
            f"{where}: the latest is at hand",
        )
        is_under_way = one.state in (VersionState.INSPECTING, VersionState.PROBING)
        if is_under_way:
            _require(one.work is not None, f"{where} is {one.state.value} and nothing is done for it")
        if one.work is not None:
            _require(one.work.number not in numbers, f"{where}: one work for two")
            numbers.add(one.work.number)
            _require(one.work.revision == one.last_config, f"{where}: work for an older configuration")
            is_inspect = one.work.kind is WorkKind.INSPECT
            _require(is_inspect == (one.state is VersionState.INSPECTING), f"{where}: the wrong work")
            _require(is_inspect or live.inspection is not None, f"{where} is probed and was not inspected")
        _require(
            (one.state is VersionState.NEEDS_ANSWER) <= bool(one.questions),
            f"{where} waits for an answer to nothing",
        )


def _require(is_true: bool, what: str) -> None:
    if not is_true:
        raise InvariantViolation(what)
