"""A world for the catalogue's machine: agents that look at components and try them, in an order that a seed decides."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from modelyard.models import Fact, Format, Inspection, Provenance
from services.models.catalogue import effects as e
from services.models.catalogue import events as ev
from services.models.catalogue import machine
from services.models.catalogue.model import Cause, WorkKind
from services.models.catalogue.state import Live, Model, Revision, State, Version, check_invariants
from services.models.trust.words import NOBODY, Trust

DIGESTS = tuple(character * 64 for character in "abcdef")
TRIED: dict[str, list[Any]] = {
    "inputs": [["x"], "seen"],
    "inputs[x].datatype": ["FP32", "seen"],
    "inputs[x].shape": [[-1, 4], "seen"],
    "outputs": [["y"], "seen"],
    "outputs[y].datatype": ["FP32", "seen"],
    "outputs[y].shape": [[-1, 2], "seen"],
}


def known(value: Any, provenance: Provenance = Provenance.INSPECTED) -> Fact:
    return Fact(value, provenance, "seen")


def whole(format_: Format = Format.ONNX) -> Inspection:
    """Of a component whose files say everything."""
    found = Inspection(format=format_, file="model.onnx")
    found.tensor("inputs", "x", "FP32", (-1, 4), "graph input")
    found.tensor("outputs", "y", "FP32", (-1, 2), "graph output")
    return found


def silent(format_: Format = Format.TORCHSCRIPT) -> Inspection:
    """Of one whose files say nothing of what goes in."""
    return Inspection(format=format_, file="model.pt")


def half() -> Inspection:
    """Of one where only its owner knows the rest."""
    found = Inspection(format=Format.SAFETENSORS, file="model.safetensors")
    found.tensor("inputs", "x", None, None, "the class beside it")
    found.tensor("outputs", "y", "FP32", (-1, 2), "the class beside it")
    return found


class World:
    """The machine, its rows as a disk has them, and the work that is under way."""

    def __init__(self, *, trusted: Trust = NOBODY) -> None:
        self.state = State(trusted=trusted)
        self.now_ms = 1_000
        self.begun: dict[int, e.Begin] = {}
        self.wishes: list[e.Wish] = []
        self.history: list[e.InsertAliasChange] = []
        self.models: dict[str, bytes] = {}
        self.versions: dict[tuple[str, int], bytes] = {}
        self.configs: dict[tuple[str, int, int], bytes] = {}
        self.findings: dict[tuple[str, int], Inspection] = {}
        self._reply = 0

    def step(self, *events: ev.Event) -> e.Effects:
        """Steps, keeps the rows, and looks whether everything is as it has to be."""
        self.now_ms += 10
        effects = machine.step(self.state, events, self.now_ms)
        for begin in effects.begins:
            self.begun[begin.work.number] = begin
        for row in effects.rows:
            self._keep(row)
        self.wishes += effects.wishes
        check_invariants(self.state)
        return effects

    def _keep(self, row: e.Row) -> None:
        if isinstance(row, e.PutModel):
            self.models[row.model.name] = msgspec.msgpack.encode(row.model)
        elif isinstance(row, e.PutVersion):
            self.versions[row.version.model, row.version.version] = msgspec.msgpack.encode(row.version)
        elif isinstance(row, e.PutRevision):
            key = row.model, row.version, row.revision.revision
            self.configs[key] = msgspec.msgpack.encode(row.revision)
        elif isinstance(row, e.PutFinding):
            self.findings[row.model, row.version] = row.inspection
        elif isinstance(row, e.InsertAliasChange):
            self.history.append(row)
        elif isinstance(row, e.DropWork):
            del self.begun[row.number]
        elif isinstance(row, e.DropVersion):
            key = row.model, row.version
            self.versions.pop(key, None)
            self.findings.pop(key, None)
            self.configs = {one: text for one, text in self.configs.items() if one[:2] != key}

    def die(self) -> None:
        """The service is killed: its memory is what the disk holds."""
        state = State(
            trusted=self.state.trusted, revision=self.state.revision, next_work=self.state.next_work
        )
        for content in self.models.values():
            model = msgspec.msgpack.decode(content, type=Model)
            state.models[model.name] = model
        for key, content in self.versions.items():
            version = msgspec.msgpack.decode(content, type=Version)
            live = Live(version, latest=self._config(*key, version.last_config))
            if version.config_revision:
                live.serving = self._config(*key, version.config_revision)
                if version.config_revision == version.last_config:
                    live.serving = live.latest
            if version.work is not None and version.work.kind is WorkKind.PROBE:
                live.inspection = self.findings[key]
            state.versions.setdefault(key[0], {})[key[1]] = live
        self.state = state
        check_invariants(state)

    def _config(self, model: str, version: int, revision: int) -> Revision:
        return msgspec.msgpack.decode(self.configs[model, version, revision], type=Revision)

    # What people ask for

    def ask(self, kind: type[ev.Asking], **fields: Any) -> e.Answer:
        self._reply += 1
        [answer] = self.step(kind(self._reply, **fields)).answers
        return answer

    def create(self, model: str = "iris", digest: str = DIGESTS[0], **fields: Any) -> e.Answer:
        files = (("model.onnx", digest, 10),)
        return self.ask(
            ev.VersionCreated, model=model, account=fields.pop("account", "ada"), files=files, digest=digest, **fields
        )  # fmt: skip

    def put(self, document: str, model: str = "iris", version: int = 1, **fields: Any) -> e.Answer:
        return self.ask(
            ev.ConfigPut, model=model, version=version, document=document, account="ada",
            inspection=self.findings.get((model, version)), **fields,
        )  # fmt: skip

    def live(self, model: str = "iris", version: int = 1) -> Live:
        found = self.state.find(model, version)
        assert found is not None
        return found

    # What agents do

    def work(self, model: str = "iris", version: int = 1) -> e.Begin:
        """What is under way for a version."""
        live = self.live(model, version)
        assert live.version.work is not None
        return self.begun[live.version.work.number]

    def accept(self, model: str = "iris", version: int = 1) -> None:
        number = self.work(model, version).work.number
        self.step(ev.WorkAccepted(model, version, number, f"t-{number}"))

    def inspected(self, found: Inspection, model: str = "iris", version: int = 1) -> None:
        self.step(ev.Inspected(model, version, self.work(model, version).work.number, found))

    def probed(self, model: str = "iris", version: int = 1, facts: dict[str, list[Any]] = TRIED) -> None:
        from modelyard.models import facts_in

        number = self.work(model, version).work.number
        found = facts_in(facts, Provenance.PROBED)
        self.step(
            ev.Probed(
                model, version, number, facts=found, golden_digest="sha256:1", golden_example=DIGESTS[5]
            )
        )

    def refused(self, code: str, model: str = "iris", version: int = 1, field: str = "") -> None:
        number = self.work(model, version).work.number
        self.step(ev.WorkRefused(model, version, number, code=code, message="it says no", field=field))

    def failed(self, cause: Cause, model: str = "iris", version: int = 1) -> None:
        number = self.work(model, version).work.number
        self.step(ev.WorkFailed(model, version, number, cause=cause, message="it is over"))

    def anything(self, chance: random.Random) -> None:
        """One thing that may happen."""
        if self.begun and chance.random() < 0.6:
            begin = self.begun[chance.choice(list(self.begun))]
            self._work_goes_on(chance, begin)
            return
        name = chance.choice(("iris", "wine"))
        versions = list(self.state.versions.get(name, {}))
        number = chance.choice(versions) if versions else 1
        act = chance.randrange(8)
        if act <= 2:
            self.create(name, chance.choice(DIGESTS[:3]), account=chance.choice(("ada", "bob")))
        elif act == 3:
            self.ask(ev.AliasSet, model=name, alias=chance.choice(("champion", "next")), version=number, account="ada",
                     from_version=chance.choice((0, 0, number)))  # fmt: skip
        elif act == 4:
            self.ask(ev.AliasDeleted, model=name, alias="next", account="ada")
        elif act == 5:
            self.ask(ev.VersionDeleted, model=name, version=number)
        elif act == 6:
            text = chance.choice(
                ("serving: {deadline: 2s}\n", "inputs: [{name: x, datatype: FP32, shape: [-1, 4]}]\n")
            )
            self.put(text, name, number, based_on=chance.choice((0, 1)))
        else:
            self.die()

    def _work_goes_on(self, chance: random.Random, begin: e.Begin) -> None:
        one, number = begin.version, begin.work.number
        key = one.model, one.version
        act = chance.randrange(10)
        if act < 2:
            self.step(ev.WorkAccepted(*key, number, f"t-{number}"))
        elif act == 2:
            self.step(ev.WorkFailed(*key, number, cause=chance.choice(list(Cause)), message="over"))
        elif act == 3:
            field = chance.choice(("", "inputs[x].shape"))
            code = chance.choice(("LIBRARY_MISSING", "FORMAT_UNKNOWN", "FAILED_PRECONDITION"))
            self.step(ev.WorkRefused(*key, number, code=code, message="no", field=field))
        elif begin.work.kind is WorkKind.INSPECT:
            self.step(
                ev.Inspected(*key, number, chance.choice((whole(), silent(), half(), silent(Format.PICKLE))))
            )
        else:
            self.probed(*key, facts=chance.choice((TRIED, {})))
