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


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(Refused) as refused:
        read_config("name: -x\nruntime: {cpu: -1, kind: vm}\nfoo: 1\n")
    assert [problem.path for problem in refused.value.problems] == [
        "name",
        "runtime.cpu",
        "runtime.kind",
        "foo",
    ]
