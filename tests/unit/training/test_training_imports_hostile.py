"""Sources that are wrong, huge or meant to harm: refused in words, or converted to what is safe; never a crash."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.documents.problems import Reason
from modelyard.training import Refused, plan_job, problems_of
from modelyard.training.frameworks import catalogue
from modelyard.training.imports import convert
from modelyard.training.plans.preview import previews

GOLDEN = Path(__file__).parents[2] / "golden" / "imports"
SAMPLES = sorted(GOLDEN.glob("*.source.yaml"))
JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 1 << 70, 1.5, float("nan"), float("inf"), "", "x" * 5_000, "${", "${self.secret}",
    "$(A)$$${b}", "../../etc", "a\x00b", "\u2028", "yes", "1e3", [], [[]], {}, {"": None}, [None],
    {"a": {"b": ["c"]}}, "ключ", "-" * 70,
)  # fmt: skip
ROUNDS = 40
LEFT = {
    Reason.NO_COMMAND, Reason.NO_INSTANCES, Reason.OUT_OF_RANGE, Reason.CONTRADICTION, Reason.TOO_LARGE, Reason.CYCLE,
    Reason.UNKNOWN_NAME,
}  # fmt: skip
"""Reasons for which a converted file may be wrong."""
LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
POD = "{spec: {containers: [{name: pytorch, command: [%s]}]}}"


def reasons(text: str) -> set[Reason]:
    with pytest.raises(Refused) as caught:
        convert(text)
    assert all(problem.message for problem in caught.value.problems)
    return {problem.reason for problem in caught.value.problems}


def job(body: str = "", kind: str = "PyTorchJob") -> str:
    head = f"apiVersion: kubeflow.org/v1\nkind: {kind}\nmetadata: {{name: one}}\nspec:\n"
    return head + (body or f"  pytorchReplicaSpecs: {{Master: {{template: {POD % 'x'}}}}}\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.UNKNOWN_KIND),
        ("just text", Reason.UNKNOWN_KIND),
        ("- 1\n- 2", Reason.UNKNOWN_KIND),
        ("{", Reason.MALFORMED),
        ("a: *nobody", Reason.MALFORMED),
        ("a: &a [*a]", Reason.MALFORMED),
        (LAUGHS, Reason.TOO_LARGE),
        ("x" * (10 << 20), Reason.TOO_LARGE),
        ("a: " + "[" * 5_000, Reason.TOO_DEEP),
        (f"{job()}  x: {'[' * 60}{']' * 60}\n", Reason.TOO_DEEP),
        ("kind: Pod\napiVersion: v1", Reason.UNKNOWN_KIND),
        ("kind: Job\napiVersion: batch/v1", Reason.UNKNOWN_KIND),
        ("kind: PyTorchJob\napiVersion: example.org/v1", Reason.UNKNOWN_KIND),
        ("apiVersion: v1\nmetadata: {name: x}", Reason.MISSING_FIELD),
        (job("  {}\n"), Reason.MISSING_FIELD),
        (job("  pytorchReplicaSpecs: 3\n"), Reason.WRONG_TYPE),
        (job(f"  pytorchReplicaSpecs: {{Boss: {{template: {POD % 'x'}}}}}\n"), Reason.BAD_VALUE),
        (job(f"  pytorchReplicaSpecs: {{Worker: {{replicas: two, template: {POD % 'x'}}}}}\n"), Reason.WRONG_TYPE),
        (job(f"  pytorchReplicaSpecs: {{Worker: {{replicas: -1, template: {POD % 'x'}}}}}\n"), Reason.OUT_OF_RANGE),
        (job(f"  pytorchReplicaSpecs: {{Worker: {{replicas: 99999, template: {POD % 'x'}}}}}\n"), Reason.OUT_OF_RANGE),
        (job("  pytorchReplicaSpecs: {Master: {template: {spec: {containers: []}}}}\n"), Reason.MISSING_FIELD),
        (job("  pytorchReplicaSpecs: {Master: {}}\n  pytorchReplicaSpecs: {Master: {}}\n"), Reason.DUPLICATE_FIELD),
        (job() + "---\n" + job().replace("one", "two"), Reason.MALFORMED),
    ],
)  # fmt: skip
def test_wrong_source_is_refused_with_a_reason(text: str, reason: Reason) -> None:
    # N10
    assert reason in reasons(text)


def test_one_of_several_is_chosen_by_its_name_also_from_a_list_in_json() -> None:
    items = [yaml.safe_load(job().replace("one", name)) for name in ("one", "two")]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    assert reasons(text) == {Reason.MALFORMED}
    found = convert(text, "two")
    assert (found.name, "name: two" in found.document) == ("two", True)
    assert [finding.path for finding in found.findings] == ["items[0]"]
    with pytest.raises(Refused, match="no job 'three'"):
        convert(text, "three")


def test_secret_of_a_job_cannot_be_asked_for_by_a_source() -> None:
    command = 'sh, -c, "echo ${job.secret} $${job.secret}"'
    text = job(f"  pytorchReplicaSpecs: {{Master: {{template: {POD % command}}}}}\n")
    (instance,) = previews(plan_job(convert(text).document, catalogue.find, catalogue.known()))
    assert instance.launch.processes[0].argv[2] == "echo ${job.secret} ${job.secret}"


@pytest.mark.parametrize("option", ["-mca, ключ, x", "-x, ключ=x", "-np, 3", "--unheard-of"])
def test_launcher_that_is_not_understood_stays_as_it_is(option: str) -> None:
    body = f"""  mpiReplicaSpecs:
    Launcher: {{template: {{spec: {{containers: [{{name: mpi, command: [mpirun, {option}, ./x]}}]}}}}}}
    Worker: {{replicas: 2, template: {{spec: {{containers: [{{name: mpi}}]}}}}}}
"""
    document = convert(job(body, "MPIJob")).document
    assert "own_launcher: true" in document and "argv: [mpirun, " in document
    assert not problems_of(document, catalogue.find)


def test_references_that_grow_are_refused_before_they_fill_memory() -> None:
    # Each variable is the one before it, twice.
    env = [{"name": f"V{number}", "value": f"$(V{number - 1})$(V{number - 1})"} for number in range(1, 60)]
    container = {"name": "pytorch", "command": ["x"], "env": [{"name": "V0", "value": "ha"}, *env]}
    spec = {"pytorchReplicaSpecs": {"Master": {"template": {"spec": {"containers": [container]}}}}}
    source = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "one"},
        "spec": spec,
    }
    assert reasons(json.dumps(source)) == {Reason.TOO_LARGE}


def test_map_of_values_that_many_name_is_refused_before_it_fills_memory() -> None:
    values = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"},
              "data": {f"KEY_{number}": "v" * 40 for number in range(6_000)}}  # fmt: skip
    container = {"name": "a", "command": ["x"], "envFrom": [{"configMapRef": {"name": "m"}}]}
    template = {"spec": {"template": {"spec": {"containers": [container]}}}}
    groups = [{"name": f"g{number}", "template": template} for number in range(64)]
    jobset = {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "spec": {"replicatedJobs": groups}}
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [values, jobset]})
    assert reasons(text) == {Reason.TOO_LARGE}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything within."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def changed(documents: list[Any], chance: random.Random) -> list[Any]:
    """With one to three of its values replaced, dropped or said under another name."""
    found = copy.deepcopy(documents)
    for _ in range(chance.randint(1, 3)):
        path = chance.choice([*places(found)])
        holder = found
        for step in path[:-1]:
            holder = holder[step]
        act = chance.random()
        if act < 0.7:
            holder[path[-1]] = copy.deepcopy(chance.choice(JUNK))
        elif act < 0.85:
            del holder[path[-1]]
        elif isinstance(holder, dict):
            holder[str(path[-1]) + chance.choice(("x", "", "s"))] = holder.pop(path[-1])
        if not found:
            found = [{}]
    return found


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name.partition(".")[0])
def test_changed_source_is_refused_in_words_or_converted_to_a_file_that_can_be_judged(path: Path) -> None:
    # N10
    chance = random.Random(path.name)
    documents = [*yaml.safe_load_all(path.read_text())]
    for _ in range(ROUNDS):
        text = yaml.safe_dump_all(changed(documents, chance), allow_unicode=True)
        try:
            found = convert(text)
        except Refused as refused:
            assert refused.problems
            assert all(problem.message for problem in refused.problems), text
            continue
        problems = problems_of(found.document, catalogue.find, catalogue.known())
        wrong = {problem.reason for problem in problems}
        # What a user has to complete, or a bound of the language; never a text that is no job file.
        assert wrong <= LEFT, (problems, found.document)


ALPHABET = (
    "$",
    "$$",
    "{",
    "}",
    "${",
    "(A)",
    "$(A)",
    "$(B)",
    "$$(A)",
    "'",
    '"',
    "\\",
    "\n",
    " ",
    "#",
    ": ",
    "x",
    "%",
    "é",
    "- ",
    "\t",
)
VALUES = {"A": "${HOME} $", "B": "{job.secret}"}


def expanded(text: str) -> str:
    """What a container of the source would get."""
    return re.sub(r"\$(?:\$|\(([AB])\))", lambda found: "$" if found[1] is None else VALUES[found[1]], text)


def test_texts_arrive_as_a_container_would_get_them() -> None:
    # N10
    chance = random.Random(5)
    texts = ["".join(chance.choices(ALPHABET, k=chance.randint(0, 12))) for _ in range(400)]
    env = [{"name": name, "value": value} for name, value in VALUES.items()]
    env += [{"name": f"T{number}", "value": text} for number, text in enumerate(texts)]
    container = {"name": "pytorch", "command": ["run", *texts], "env": env}
    spec = {"pytorchReplicaSpecs": {"Master": {"template": {"spec": {"containers": [container]}}}}}
    source = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "one"},
        "spec": spec,
    }
    document = convert(yaml.safe_dump(source, allow_unicode=True)).document
    (instance,) = previews(plan_job(document, catalogue.find, catalogue.known()))
    process = instance.launch.processes[0]
    assert list(process.argv[1:]) == [expanded(text) for text in texts]
    assert [process.env[f"T{number}"] for number in range(len(texts))] == [expanded(text) for text in texts]
