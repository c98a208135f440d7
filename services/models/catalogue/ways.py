"""The way of one version: looked at, tried, READY; or a question, or the end. Pure.

A revision of a configuration is determined from what its owner declared, what the files say, and what a run has shown.
The work for it is done on an agent; there is at most one at a time, always for the latest revision. While it is done
for a later revision, the one before serves on.
"""

from __future__ import annotations

import msgspec

from modelyard.documents.problems import Refused
from modelyard.models import (
    Determined,
    Facts,
    Inspection,
    NotFacts,
    Provenance,
    determine,
    facts_in,
    facts_out,
    read_config,
    write_config,
)
from services.models.catalogue import effects as e
from services.models.catalogue import events as ev
from services.models.catalogue.model import Cause, VersionState, WorkKind
from services.models.catalogue.state import Asked, Live, Revision, State, Work
from services.models.surroundings.association import NoImage
from services.models.trust.words import OPENING_RUNS

TURNS_MOST = 3
"""How often work is begun that was lost through no fault of its own."""
LIBRARY_MISSING = "LIBRARY_MISSING"
LIBRARIES: dict[str, tuple[str, ...]] = {
    ".onnx": ("onnx>=1.17", "numpy>=2"),
}
"""What a look needs that agents need not have, by the ending of a file's name."""
_TENSORS = ("inputs", "outputs", "component.inputs", "component.outputs")
_PLAIN_CODES = frozenset(
    {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "INTERNAL", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
)
"""Of errors that have no word of their own."""
WARNINGS_MOST = 20
SUPERSEDED = "SUPERSEDED"
_LET = {"PICKLE_NOT_TRUSTED": "", "TYPES_NOT_TRUSTED": "=TYPE+TYPE"}
"""Reasons to which the server's own list is the answer, and what the word in it ends in."""


class Way:
    """Of one version, within one step."""

    def __init__(self, state: State, live: Live, effects: e.Effects, now_ms: int) -> None:
        self._state = state
        self._live = live
        self._version = live.version
        assert live.latest is not None
        self._latest = live.latest
        self._effects = effects
        self._now_ms = now_ms

    # Begun

    def begin(self) -> None:
        """A new version, or one whose files are to be looked at again."""
        self._start(WorkKind.INSPECT)

    def put(self, event: ev.ConfigPut) -> None:
        """The next revision; what it says anew is declared, the rest stays known as it was."""
        before, version = self._latest, self._version
        self._stop_work(SUPERSEDED, f"revision {before.revision + 1} took its place")
        self._latest = self._live.latest = Revision(
            revision=before.revision + 1, declared=event.document, account=event.account, create_ms=self._now_ms,
            document=event.document, facts=before.facts,
        )  # fmt: skip
        version.last_config = self._latest.revision
        self._live.inspection = event.inspection
        if event.inspection is None:
            # Nothing could be made of its files before; what is declared now may help.
            version.state, version.questions = VersionState.INSPECTING, ()
            self._latest.state = VersionState.INSPECTING
            self.begin()
            return
        self._determine({})

    def drop(self) -> None:
        """The version goes."""
        self._stop_work(SUPERSEDED, "the version was deleted")

    def _start(self, kind: WorkKind, turn: int = 1, libraries: tuple[str, ...] = ()) -> None:
        work = Work(
            number=self._state.next_work,
            kind=kind,
            revision=self._latest.revision,
            turn=turn,
            libraries=libraries,
        )
        self._state.next_work += 1
        self._version.work = work
        self._to(VersionState.INSPECTING if kind is WorkKind.INSPECT else VersionState.PROBING)
        may = self._state.may_unpickle(self._version)
        types = self._state.trusted_types(self._version)
        self._effects.begins.append(e.Begin(self._version, self._latest, work, may, types))

    def _stop_work(self, reason: str, message: str) -> None:
        work = self._version.work
        if work is None:
            return
        self._end_work()
        self._latest.state, self._latest.reason, self._latest.message = VersionState.FAILED, reason, message
        self._effects.rows.append(
            e.PutRevision(self._version.model, self._version.version, msgspec.structs.replace(self._latest))
        )
        if work.task:
            self._effects.wishes.append(e.Cancel(self._version.account, work.task))

    def _end_work(self) -> None:
        assert self._version.work is not None
        self._effects.rows.append(e.DropWork(self._version.work.number))
        self._version.work = None

    # What work says

    def on_work(self, event: ev.WorkEvent) -> None:
        """It is about the work that is under way."""
        work = self._version.work
        assert work is not None
        if isinstance(event, ev.WorkAccepted):
            self._version.work = msgspec.structs.replace(work, task=event.task)
            self._version.task = event.task
            self._touch()
            return
        self._end_work()
        if isinstance(event, ev.Inspected):
            self._inspected(event.inspection)
        elif isinstance(event, ev.Probed):
            self._probed(event)
        elif isinstance(event, ev.WorkRefused):
            self._refused(work, event)
        elif isinstance(event, ev.WorkFailed):
            self._failed(work, event)

    def _inspected(self, inspection: Inspection) -> None:
        version = self._version
        self._live.inspection = inspection
        version.format, version.warnings = inspection.format.value, tuple(inspection.warnings[:WARNINGS_MOST])
        self._effects.rows.append(e.PutFinding(version.model, version.version, inspection))
        self._determine({})

    def _probed(self, event: ev.Probed) -> None:
        latest = self._latest
        latest.golden_digest, latest.golden_example = event.golden_digest, event.golden_example
        latest.load_s, latest.memory_bytes = event.load_s, event.memory_bytes
        latest.image = event.image
        assert self._live.inspection is not None
        noticed = (*self._live.inspection.warnings, *event.warnings)
        self._version.warnings = tuple(dict.fromkeys(noticed))[:WARNINGS_MOST]
        if event.golden_example:
            holder = holder_of(self._version.model, self._version.version)
            self._effects.wishes.append(e.Hold(self._version.account, holder, (event.golden_example,)))
        found = self._determined(event.facts)
        if found is None:
            return
        if found.config is None:
            self._ask(found)
            return
        latest.config = found.config
        self._serve()

    def _refused(self, work: Work, event: ev.WorkRefused) -> None:
        libraries = self._libraries() if work.kind is WorkKind.INSPECT else ()
        if event.code == LIBRARY_MISSING and libraries and not work.libraries:
            self._start(WorkKind.INSPECT, libraries=libraries)
            return
        where = f"{event.field}: " if event.field else ""
        if work.kind is WorkKind.PROBE and event.field.startswith(_TENSORS):
            # No example fits what is not known: its owner is asked after all.
            found = self._determined({})
            if found is None:
                return
            if found.questions:
                self._ask(found, event.message)
                return
        plain = "PROBE_FAILED" if work.kind is WorkKind.PROBE else "INSPECTION_FAILED"
        reason = plain if event.code in _PLAIN_CODES else event.code
        let = _LET.get(reason)
        self._fail(reason, f"{where}{event.message}{'' if let is None else f'; {self._let(let)}'}")

    def _failed(self, work: Work, event: ev.WorkFailed) -> None:
        if event.cause is Cause.LOST and work.turn < TURNS_MOST:
            self._start(work.kind, work.turn + 1, work.libraries)
            return
        what = "the look at its files" if work.kind is WorkKind.INSPECT else "the run on an example"
        name = "INSPECTION" if work.kind is WorkKind.INSPECT else "PROBE"
        self._fail(f"{name}_{event.cause.name}", f"{what}: {event.message}")

    def _libraries(self) -> tuple[str, ...]:
        found = [
            needed
            for path, _, _ in self._version.files
            for end, needed in LIBRARIES.items()
            # What is in a packed directory nobody has seen yet.
            if path.endswith((end, "/"))
        ]
        return found[0] if found else ()

    # What it comes to

    def _determine(self, probed: Facts) -> None:
        """After a look, or an edit: refused, asked about, or tried."""
        found = self._determined(probed)
        if found is None:
            return
        if any(not question.is_probed for question in found.questions):
            self._ask(found)
            return
        runs = OPENING_RUNS.get(found.draft.format)
        if runs is not None and not self._state.may_unpickle(self._version):
            self._fail("PICKLE_NOT_TRUSTED", f"{runs}, or {self._let('')}")
            return
        try:
            self._state.runtimes.find(found.draft.runtime)
        except NoImage as error:
            self._fail("NO_IMAGE", f"{error.field}: {error.message}")
            return
        self._latest.config = found.draft
        self._start(WorkKind.PROBE)

    def _let(self, types: str) -> str:
        """Which words of the server's list would let it."""
        version = self._version
        word = f"{version.account}/{version.model}"
        return (
            f"ask who runs the yard for the line {word}{types} in its list models/trust, or `yard up --trust"
            f" {word}{types}` ({version.account}{types} is all of the account's, sha256:{version.digest}{types} this"
            " component alone)"
        )

    def _determined(self, probed: Facts) -> Determined | None:
        """What is known by now; None: it can never be served so, and that is noted."""
        latest, version, inspection = self._latest, self._version, self._live.inspection
        assert inspection is not None
        try:
            before = facts_in(latest.facts)
            declared = merged(read_config(latest.declared), before)
        except (Refused, NotFacts) as error:
            self._fail("CONFIG_INVALID", str(error))
            return None
        known = {path: fact for path, fact in before.items() if fact.provenance is Provenance.PROBED}
        found = determine(
            declared,
            inspection,
            name=version.model,
            size_bytes=version.size_bytes,
            probed={**known, **probed},
        )
        latest.facts = dict(facts_out(found.facts))
        latest.document = document_of(found)
        if found.refusals:
            self._fail("CANNOT_BE_SERVED", "; ".join(found.refusals))
            return None
        return found

    def _ask(self, found: Determined, why: str = "") -> None:
        asked = tuple(Asked(one.field, one.question, one.choices, why or one.why) for one in found.questions)
        first = f"{asked[0].field}: {asked[0].question}"
        more = f", and {len(asked) - 1} more" if len(asked) > 1 else ""
        self._to(VersionState.NEEDS_ANSWER, "QUESTIONS", first + more, asked)

    def _serve(self) -> None:
        version, latest = self._version, self._latest
        version.config_revision, self._live.serving = latest.revision, latest
        version.ready_ms = version.ready_ms or self._now_ms
        self._live.inspection = None
        self._to(VersionState.READY)

    def _fail(self, reason: str, message: str) -> None:
        self._to(VersionState.FAILED, reason, message)

    def _to(
        self, state: VersionState, reason: str = "", message: str = "", questions: tuple[Asked, ...] = ()
    ) -> None:
        """The latest revision is there now; the version too, unless an earlier one serves."""
        version, latest = self._version, self._latest
        latest.state, latest.reason, latest.message, latest.questions = state, reason, message, questions
        if state in (VersionState.FAILED, VersionState.NEEDS_ANSWER):
            self._live.inspection = None
        if version.config_revision:
            state, reason = VersionState.READY, ""
            message = f"revision {latest.revision} of its configuration {message}" if message else ""
            questions = ()
        version.state, version.reason, version.message, version.questions = state, reason, message, questions
        self._touch()

    def _touch(self) -> None:
        self._state.revision += 1
        self._version.revision = self._state.revision
        self._effects.changed.add((self._version.model, self._version.version))


def holder_of(model: str, version: int) -> str:
    """Who refers to a version's files, as the store knows it."""
    return f"model:{model}:{version}"


def merged(declared: Facts, before: Facts) -> Facts:
    """Without what only repeats what was known otherwise: a field that its owner left as it was is no word of his."""
    return {
        path: fact
        for path, fact in declared.items()
        if path not in before
        or before[path].provenance is Provenance.DECLARED
        or before[path].value != fact.value
    }


def document_of(found: Determined) -> str:
    """model.yaml as far as it is known, with what is asked above it."""
    asked = [f"# to be said: {one.field}: {one.question} ({one.why})\n" for one in found.questions]
    return "".join(asked) + write_config(found.draft, found.facts)
