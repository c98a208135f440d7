"""The way of a version through the catalogue: its transition table, and every reason to refuse (S2.1–S2.3, S0.9)."""

from __future__ import annotations

import pytest

from modelyard.models import Format, Provenance, facts_in
from services.models.catalogue import effects as e
from services.models.catalogue import events as ev
from services.models.catalogue.model import Cause, Role, VersionState, WorkKind
from services.models.catalogue.state import Lineage
from services.models.trust.words import read_trust
from tests.support.catalogue_world import DIGESTS, World, half, silent, whole


def ready(world: World) -> None:
    world.create()
    world.inspected(whole())
    world.probed()


def reason(answer: e.Answer) -> str:
    return answer.error.reason if answer.error is not None else ""


def test_component_that_says_everything_is_inspected_probed_and_ready() -> None:  # S2.1, S2.2, S2.3
    world = World()
    answer = world.create()
    assert (answer.model, answer.version, answer.was_there) == ("iris", 1, False)
    version = world.live().version
    assert (version.state, world.work().work.kind) == (VersionState.INSPECTING, WorkKind.INSPECT)
    world.accept()
    assert (version.task, version.work and version.work.task) == ("t-1", "t-1")
    world.inspected(whole())
    assert (version.state, version.format) == (VersionState.PROBING, "onnx")
    world.probed()
    serving = world.live().serving
    assert (version.state, version.config_revision, version.work) == (VersionState.READY, 1, None)
    assert serving is not None and serving.golden_digest == "sha256:1"
    facts = facts_in(serving.facts)
    assert facts["inputs[x].shape"].provenance is Provenance.INSPECTED
    assert facts["serving.max_batch"].provenance is Provenance.DEFAULT
    holds = [wish for wish in world.wishes if isinstance(wish, e.Hold)]
    assert [wish.digests for wish in holds] == [(DIGESTS[0],), (DIGESTS[5],)]


def test_what_its_files_do_not_say_a_run_says() -> None:  # S2.2
    world = World()
    world.create()
    world.inspected(silent())
    assert world.live().version.state is VersionState.PROBING
    world.probed()
    serving = world.live().serving
    assert serving is not None and serving.config is not None
    assert [one.name for one in serving.config.inputs] == ["x"]
    assert facts_in(serving.facts)["inputs"].provenance is Provenance.PROBED


def test_what_a_run_does_not_say_either_is_asked() -> None:  # S2.2
    world = World()
    world.create()
    world.inspected(silent())
    world.probed(facts={})
    version = world.live().version
    assert (version.state, version.reason) == (VersionState.NEEDS_ANSWER, "QUESTIONS")
    assert [one.field for one in version.questions] == ["inputs", "outputs"]


def test_example_that_cannot_be_made_is_a_question_with_the_reason() -> None:
    world = World()
    world.create()
    world.inspected(silent())
    world.refused("FAILED_PRECONDITION", field="inputs")
    version = world.live().version
    assert version.state is VersionState.NEEDS_ANSWER
    assert version.questions[0].why == "it says no"


def test_answer_is_proved_by_a_run() -> None:  # S2.3
    world = World()
    world.create()
    world.inspected(half())
    version = world.live().version
    assert version.state is VersionState.NEEDS_ANSWER
    assert {one.field for one in version.questions} == {"inputs[x].datatype", "inputs[x].shape"}
    latest = world.live().latest
    assert (
        latest is not None
        and "- name: x" in latest.document
        and "# to be said: inputs[x].shape" in latest.document
    )
    world.put("inputs: [{name: x, datatype: FP32, shape: [-1, 4]}]\n", based_on=1)
    assert (version.state, version.last_config) == (VersionState.PROBING, 2)
    world.probed(facts={})
    assert (version.state, version.config_revision) == (VersionState.READY, 2)


def test_field_that_its_owner_left_as_it_was_keeps_its_provenance() -> None:  # S2.3
    world = World()
    ready(world)
    latest = world.live().latest
    assert latest is not None
    world.put(latest.document.replace('deadline: "10s"', 'deadline: "2s"'))
    latest = world.live().latest
    assert latest is not None
    facts = facts_in(latest.facts)
    declared = [path for path, fact in facts.items() if fact.provenance is Provenance.DECLARED]
    assert declared == ["serving.deadline"]


def test_edited_configuration_is_proved_while_the_earlier_one_serves() -> None:  # S2.3
    world = World()
    ready(world)
    live = world.live()
    world.put("serving: {deadline: 2s}\n", based_on=1)
    assert (live.version.state, live.version.config_revision) == (VersionState.READY, 1)
    assert live.serving is not None and live.serving.revision == 1 and live.latest is not live.serving
    world.probed()
    assert (live.version.config_revision, live.serving.config and live.serving.config.serving.deadline_s) == (
        2,
        2.0,
    )


def test_edited_configuration_that_fails_leaves_the_earlier_one_serving() -> None:
    world = World()
    ready(world)
    world.put("serving: {deadline: 2s}\n")
    world.refused("FAILED_PRECONDITION")
    live = world.live()
    assert (live.version.state, live.version.config_revision, live.version.last_config) == (
        VersionState.READY,
        1,
        2,
    )
    assert live.latest is not None and live.latest.state is VersionState.FAILED
    assert "revision 2" in live.version.message
    # It may be made of what serves, or of what failed.
    assert reason(world.put("serving: {deadline: 3s}\n", based_on=1)) == ""


def test_configuration_that_is_edited_while_it_is_tried_takes_its_place() -> None:
    world = World()
    world.create()
    world.inspected(whole())
    world.accept()
    first = world.work().work.number
    world.put("serving: {deadline: 2s}\n")
    assert world.configs["iris", 1, 1] is not None
    assert world.work().work.number != first
    assert [wish.task for wish in world.wishes if isinstance(wish, e.Cancel)] == [f"t-{first}"]
    world.step(ev.Probed("iris", 1, first, facts={}))
    assert world.live().version.state is VersionState.PROBING, "what nobody waits for any more tells nothing"


def test_configuration_is_compared_and_set() -> None:
    world = World()
    ready(world)
    assert reason(world.put("serving: {deadline: 2s}\n", based_on=7)) == "CONFIG_STALE"
    assert reason(world.put("serving: {deadline: 2s}\n", based_on=1)) == ""
    assert reason(world.put("serving: {deadline: 3s}\n", based_on=1)) == "CONFIG_STALE"
    assert world.put("serving: {deadline: 2s}\n", based_on=2).was_there


def test_configuration_that_contradicts_the_files_is_refused_with_the_field() -> None:  # S2.2
    world = World()
    world.create(declared="inputs: [{name: z}]\n")
    world.inspected(whole())
    version = world.live().version
    assert (version.state, version.reason) == (VersionState.FAILED, "CANNOT_BE_SERVED")
    assert "inputs[z]: the component has no such name" in version.message


def test_configuration_cannot_be_edited_while_its_files_are_looked_at() -> None:
    world = World()
    world.create()
    assert reason(world.put("serving: {deadline: 2s}\n")) == "VERSION_IS_INSPECTED"


def test_library_that_agents_lack_is_installed_for_the_look() -> None:
    world = World()
    world.create()
    world.refused("LIBRARY_MISSING")
    assert world.work().work.libraries == ("onnx>=1.17", "numpy>=2")
    world.refused("LIBRARY_MISSING")
    assert world.live().version.state is VersionState.FAILED


def test_work_that_was_lost_is_done_again_and_not_for_ever() -> None:
    world = World()
    world.create()
    numbers = [world.work().work.number]
    for _ in range(2):
        world.failed(Cause.LOST)
        numbers.append(world.work().work.number)
    assert numbers == [1, 2, 3]
    world.failed(Cause.LOST)
    assert (world.live().version.state, world.live().version.reason) == (
        VersionState.FAILED,
        "INSPECTION_LOST",
    )


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause is not Cause.LOST])
def test_probe_that_dies_fails_the_version_with_the_cause(cause: Cause) -> None:
    world = World()
    world.create()
    world.inspected(whole())
    world.failed(cause)
    version = world.live().version
    assert (version.state, version.reason) == (VersionState.FAILED, f"PROBE_{cause.name}")
    assert "it is over" in version.message


def test_version_that_failed_is_tried_again_by_an_edit_or_handed_in_anew() -> None:
    world = World()
    world.create()
    world.refused("FORMAT_UNKNOWN")
    assert world.live().version.state is VersionState.FAILED
    world.put("component: {file: model.onnx}\n")
    assert world.live().version.state is VersionState.INSPECTING
    assert world.work().revision.declared == "component: {file: model.onnx}\n"
    world.refused("FORMAT_UNKNOWN")
    assert world.create().version == 2


@pytest.mark.parametrize("format_", [Format.PICKLE, Format.TORCH_EXPORT])
def test_what_runs_when_it_is_opened_is_tried_only_where_the_server_trusts_it(
    format_: Format,
) -> None:  # safety
    world = World()
    world.create()
    world.inspected(whole(format_))
    assert (world.live().version.state, world.live().version.reason) == (
        VersionState.FAILED,
        "PICKLE_NOT_TRUSTED",
    )
    for words in ("--trust ada/iris", "ada is all", f"sha256:{DIGESTS[0]}"):
        assert words in world.live().version.message
    for trusted in ("ada", "ada/iris", f"sha256:{DIGESTS[0]}"):
        other = World(trusted=read_trust(trusted))
        other.create()
        other.inspected(whole(format_))
        assert other.work().may_unpickle
    for foreign in ("bob", "bob/iris", "ada/wine", "iris", "ada=acme.Scaler"):
        other = World(trusted=read_trust(foreign))
        other.create()
        other.inspected(whole(format_))
        assert other.live().version.reason == "PICKLE_NOT_TRUSTED", foreign


def test_types_that_were_refused_name_the_list_that_would_let_them() -> None:  # safety
    world = World(trusted=read_trust("ada/iris=acme.Scaler, *=acme.Common, bob=acme.Other"))
    world.create()
    world.inspected(whole(Format.SKOPS))
    assert world.work().trusted_types == ("acme.Common", "acme.Scaler") and not world.work().may_unpickle
    world.refused("TYPES_NOT_TRUSTED", field="component.file")
    version = world.live().version
    assert (version.state, version.reason) == (VersionState.FAILED, "TYPES_NOT_TRUSTED")
    assert "--trust ada/iris=TYPE+TYPE" in version.message


def test_same_component_again_is_the_version_that_is_there() -> None:  # S2.1
    world = World()
    ready(world)
    again = world.create()
    assert (again.version, again.was_there) == (1, True)
    assert world.create(digest=DIGESTS[1]).version == 2
    # Of what came in between nothing is the latest.
    assert world.create().version == 3
    assert world.create(labels={"team": "vision"}).version == 4
    assert world.create(labels={"team": "vision"}, lineage=Lineage(job_id="j-1")).version == 5


def test_alias_moves_and_its_history_is_only_added_to() -> None:  # S0.9
    world = World()
    ready(world)
    world.create(digest=DIGESTS[1])
    world.inspected(whole(), version=2)
    world.probed(version=2)
    alias = {"model": "iris", "alias": "champion", "account": "ada"}
    world.ask(ev.AliasSet, version=1, **alias)
    assert reason(world.ask(ev.AliasSet, version=2, from_version=2, **alias)) == "ALIAS_STALE"
    world.ask(ev.AliasSet, version=2, from_version=1, comment="better", **alias)
    world.ask(ev.AliasDeleted, **alias)
    assert [(one.from_version, one.to_version) for one in world.history] == [(0, 1), (1, 2), (2, 0)]
    assert world.history[1].comment == "better"
    assert reason(world.ask(ev.AliasDeleted, **alias)) == "MODEL_VERSION_NOT_FOUND"


def test_alias_points_only_at_what_serves() -> None:
    world = World()
    world.create()
    answer = world.ask(ev.AliasSet, model="iris", alias="champion", version=1, account="ada")
    assert reason(answer) == "VERSION_NOT_READY"
    missing = world.ask(ev.AliasSet, model="iris", alias="champion", version=9, account="ada")
    assert reason(missing) == "MODEL_VERSION_NOT_FOUND"


def test_version_that_an_alias_names_stays() -> None:  # S0.9
    world = World()
    ready(world)
    world.ask(ev.AliasSet, model="iris", alias="champion", version=1, account="ada")
    assert reason(world.ask(ev.VersionDeleted, model="iris", version=1)) == "VERSION_IN_USE"
    world.ask(ev.AliasDeleted, model="iris", alias="champion", account="ada")
    assert reason(world.ask(ev.VersionDeleted, model="iris", version=1)) == ""
    assert (world.versions, world.configs, world.findings) == ({}, {}, {})
    assert isinstance(world.wishes[-1], e.Hold) and world.wishes[-1].digests == ()
    assert world.create().version == 2, "a number is never given again"


def test_deleted_version_takes_its_work_with_it() -> None:
    world = World()
    world.create()
    world.accept()
    world.ask(ev.VersionDeleted, model="iris", version=1)
    assert world.begun == {}
    assert [wish.task for wish in world.wishes if isinstance(wish, e.Cancel)] == ["t-1"]
    world.step(ev.Inspected("iris", 1, 1, whole()))
    assert world.state.find("iris", 1) is None


def test_model_is_changed_by_who_saw_its_latest_revision() -> None:
    world = World()
    world.create()
    revision = world.state.models["iris"].revision
    access: dict[str, Role | None] = {"bob": Role.CALLER, "*": Role.VIEWER}
    world.ask(ev.ModelUpdated, model="iris", revision=revision, labels={"a": "1", "b": "2"}, access=access)
    assert reason(world.ask(ev.ModelUpdated, model="iris", revision=revision)) == "MODEL_STALE"
    world.ask(ev.ModelUpdated, model="iris", labels={"a": ""}, access={"*": None}, summary="flowers")
    model = world.state.models["iris"]
    assert (model.labels, model.access, model.summary) == ({"b": "2"}, {"bob": Role.CALLER}, "flowers")


def test_service_that_is_killed_goes_on_where_it_was() -> None:
    world = World()
    world.create()
    world.accept()
    world.die()
    world.inspected(half())
    world.die()
    world.put("inputs: [{name: x, datatype: FP32, shape: [-1, 4]}]\n")
    world.die()
    world.probed(facts={})
    world.die()
    assert world.live().version.state is VersionState.READY
