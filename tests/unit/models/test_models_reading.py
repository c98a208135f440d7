"""model.yaml as its owner writes it: any part of its fields, and everything that is wrong with it at once."""

from __future__ import annotations

import pytest

from modelyard.documents.problems import Refused
from modelyard.models import Codec, read_config

WHOLE = """
kind: Model
name: iris
component: {format: onnx, file: model.onnx}
inputs:
  - {name: x, datatype: FP32, shape: [-1, 4], codec: table, columns: [a, b, c, d]}
outputs:
  - {name: y, datatype: INT64, shape: [-1], labels: [setosa, other]}
pre: [{op: normalize, mean: 0.5}, {code: "pipeline:clean"}]
post: [{op: softmax}]
visualise: [{op: bar, as: image/png}]
runtime: {kind: container, python: "3.11", requirements: [onnxruntime], cpu: 1, memory: 1Gi, network: false, threads: 2}
serving:
  {instances: {min: 0, max: 2}, idle_unload: 5m, max_batch: 32, batch_delay: 2ms, queue: 10, deadline: 1s}
"""


def test_every_field_is_read_with_its_line() -> None:  # S2.3
    facts = read_config(WHOLE)
    assert facts["inputs"].value == ("x",)
    assert facts["inputs[x].codec"].value is Codec.TABLE
    assert facts["outputs[y].labels"].value == ("setosa", "other")
    assert [step.op or step.code for step in facts["pre"].value] == ["normalize", "pipeline:clean"]
    assert facts["pre"].value[0].options == (("mean", 0.5),)
    assert facts["runtime.memory"].value == 1 << 30
    assert facts["serving.batch_delay"].value == 0.002
    assert facts["serving.instances.max"].value == 2
    assert facts["name"].why == "line 3"
    assert read_config("") == {}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("kind: Job", "kind"),
        ("name: -x", "name"),
        ("name: ../x", "name"),
        ("component: {file: ../../etc/passwd}", "component.file"),
        ("component: {file: /etc/passwd}", "component.file"),
        ("component: {format: tensorflow}", "component.format"),
        ("inputs: {x: 1}", "inputs"),
        ("inputs: [{datatype: FP32}]", "inputs[0].name"),
        ("inputs: [{name: x}, {name: x}]", "inputs[1].name"),
        ("inputs: [{name: x, datatype: FLOAT}]", "inputs[0].datatype"),
        ("inputs: [{name: x, shape: [a]}]", "inputs[0].shape[0]"),
        ("inputs: [{name: x, shape: [-2]}]", "inputs[0].shape[0]"),
        ("inputs: [{name: x, shape: [.nan]}]", "inputs[0].shape[0]"),
        ("inputs: [{name: x, shape: [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}]", "inputs[0].shape"),
        ("pre: [{}]", "pre[0].op"),
        ("pre: [{op: a, code: 'b:c'}]", "pre[0].op"),
        ("pre: [{code: '__import__'}]", "pre[0].code"),
        ("runtime: {kind: vm}", "runtime.kind"),
        ("runtime: {python: '2.7'}", "runtime.python"),
        ("runtime: {requirements: --index-url=http://x}", "runtime.requirements[0]"),
        ("runtime: {requirements: [numpy, '-r /etc/passwd']}", "runtime.requirements[1]"),
        ("runtime: {requirements: [./wheel.whl]}", "runtime.requirements[0]"),
        ("runtime: {requirements: ['x @ file:///x']}", "runtime.requirements[0]"),
        ("runtime: {requirements: ['numpy --pre']}", "runtime.requirements[0]"),
        ("runtime: {requirements: ['numpy>=2 --config-settings=a']}", "runtime.requirements[0]"),
        ("runtime: {requirements: ['numpy ; os_name > \"a\" --hash=a']}", "runtime.requirements[0]"),
        ('runtime: {requirements: ["numpy\\n-e ."]}', "runtime.requirements[0]"),
        ('runtime: {requirements: ["numpy>=1\\n-e ."]}', "runtime.requirements[0]"),
        ("runtime: {requirements: ['numpy>=${HOME}']}", "runtime.requirements[0]"),
        ("runtime: {cpu: -1}", "runtime.cpu"),
        ("runtime: {memory: lots}", "runtime.memory"),
        ("serving: {instances: {max: 0}}", "serving.instances.max"),
        ("serving: {batch_delay: 1h}", "serving.batch_delay"),
        ("serving: {quue: 3}", "serving.quue"),
        ("surving: {}", "surving"),
        ("[]", ""),
        ("a: [", ""),
        ("name: a\n---\nname: b", ""),
        ("a: &a [*a]", ""),
        ("inputs: " + "[" * 100 + "]" * 100, ""),
    ],
)
def test_mistakes_are_refused_with_their_path(text: str, path: str) -> None:
    with pytest.raises(Refused) as refused:
        read_config(text)
    assert path in [problem.path for problem in refused.value.problems], refused.value.problems


def swelling(aliases: int) -> str:
    """Each line stands for twice as much as the one before."""
    lines = ["x-a0: &a0 [x, x]"]
    lines += [f"x-a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, aliases)]
    return "\n".join(lines)


HOSTILE = {
    "aliases of aliases": swelling(60),
    "aliases of mappings": "x: &x {a: 1}\n" + "\n".join(f"y{n}: {{<<: *x}}" for n in range(30_000)),
    "without a bottom": "x-a: " + "[" * 300_000,
    "mappings without a bottom": "x-a: " + "{a: " * 300_000,
    "dashes without a bottom": "- " * 300_000,
    "keys that are lists": "? " * 300_000,
    "more than is read": "# " + "x" * (2 << 20),
    "keys without end": "\n".join(f"x{n}: 1" for n in range(50_000)),
    "documents without end": "---\na: 1\n" * 20_000,
    "an object of Python": "name: !!python/object/apply:os.system ['true']",
    "a number without end": "runtime: {cpu: " + "9" * 500_000 + "}",
    "a number of sixty": "runtime: {cpu: " + "1:" * 200_000 + "1}",
    "an exponent": "runtime: {cpu: 1e999999999}",
    "no number": "runtime: {cpu: .nan, memory: .inf}",
    "memory of all": "runtime: {memory: 99999999999999999999999Ti}",
    "a shape of all": "inputs: [{name: x, datatype: FP32, shape: [9999999999999999]}]",
    "axes without end": "inputs: [{name: x, datatype: FP32, shape: [" + "1, " * 5_000 + "1]}]",
    "inputs without end": "inputs: [" + "{name: x}, " * 5_000 + "]",
    "steps without end": "pre: [" + "softmax, " * 5_000 + "]",
    "a name without end": "name: " + "a" * 200_000 + "!",
    "a name of parts": "name: " + "a." * 100_000 + "!",
    "code without end": "pre: [{code: '" + "a" * 100_000 + ".b:'}]",
    "a path out": "component: {file: ../../etc/passwd}",
    "no text": "name: \x00\x01",
    "half a character": b"name: \xff\xfe",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_document_that_means_harm_is_refused_in_words(name: str) -> None:  # issue 6, point 7
    with pytest.raises(Refused) as refused:
        read_config(HOSTILE[name])
    assert 0 < len(str(refused.value)) < 100_000


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(Refused) as refused:
        read_config("name: -x\nruntime: {cpu: -1, kind: vm}\nfoo: 1\n")
    assert [problem.path for problem in refused.value.problems] == [
        "name",
        "runtime.cpu",
        "runtime.kind",
        "foo",
    ]
