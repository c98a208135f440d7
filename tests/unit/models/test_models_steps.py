"""Steps in model.yaml: unknown names, unknown and wrong options are told with line, column and what was meant."""

from __future__ import annotations

import pytest

from modelyard.documents.problems import Refused
from modelyard.models import Step, read_config
from modelyard.models.steps import drawing_name, requirements_of
from modelyard.serving.vocabulary import DRAWINGS, STEPS, mistake


@pytest.mark.parametrize(
    ("text", "path", "message", "next_step"),
    [
        ("pre: [{op: resise, size: [1, 1]}]", "pre[0].op", "no step 'resise'", "did you mean 'resize'?"),
        ("post: [{op: bar}]", "post[0].op", "no step 'bar'", "it belongs into visualise"),
        ("visualise: [{op: softmax}]", "visualise[0].op", "no step 'softmax'", "it belongs into pre"),
        ("visualise: [{op: piechart}]", "visualise[0].op", "to draw", "one of bar, boxes"),
        ("pre: [{op: resize}]", "pre[0].size", "it needs size", "size: …"),
        ("pre: [{op: resize, size: 7}]", "pre[0].size", "a list of integers", ""),
        ("pre: [{op: resize, size: [1, 2, 3]}]", "pre[0].size", "3 items", ""),
        ("pre: [{op: resize, size: [1, 99999999]}]", "pre[0].size", "within", ""),
        ("pre: [{op: resize, size: [1, 2.5]}]", "pre[0].size", "a list of integers", ""),
        ("pre: [{op: resize, size: [1, true]}]", "pre[0].size", "a list of integers", ""),
        ("pre: [{op: resize, size: [1, 2], methode: x}]", "pre[0].methode", "no field", "did you mean 'method'?"),
        ("pre: [{op: resize, size: [1, 2], method: linear}]", "pre[0].method", "none of its words", "did you mean"),
        ("pre: [{op: normalize, mean: red}]", "pre[0].mean", "a number, or a list of numbers", ""),
        ("pre: [{op: normalize, std: [1, 0]}]", "pre[0].std", "divided by 0", ""),
        ("pre: [{op: cast, datatype: float32}]", "pre[0].datatype", "none of its words", ""),
        ("pre: [{op: one_hot}]", "pre[0].size", "it needs size, or categories", ""),
        ("pre: [{op: transpose, axes: [0, 0]}]", "pre[0].axes", "twice", ""),
        ("pre: [{op: reshape, shape: [-1, -1]}]", "pre[0].shape", "twice", ""),
        ("pre: [{op: softmax, on: [a, b], to: c}]", "pre[0].to", "one name", ""),
        ("pre: [{op: drop}]", "pre[0].on", "it needs on", ""),
        ("pre: [{op: drop, on: []}]", "pre[0].on", "empty", ""),
        ("pre: [{op: scale, on: {a: 1}}]", "pre[0].on", "a name", ""),
        ("pre: [{op: scale, factor: yes}]", "pre[0].factor", "a number", ""),
        ("post: [{op: top_k, k: 0}]", "post[0].k", "within", ""),
        ("visualise: [{op: bar, as: image/gif}]", "visualise[0].as", "none of its words", ""),
        ("visualise: [{code: 'a:b', as: pdf}]", "visualise[0].as", "none of its words", ""),
        ("visualise: [{op: bar}, {op: bar}]", "visualise[1]", "two drawings are called 'bar'", "name"),
    ],
)  # fmt: skip
def test_wrong_steps_are_refused_where_they_stand(
    text: str, path: str, message: str, next_step: str
) -> None:  # S2.3
    with pytest.raises(Refused) as refused:
        read_config("name: a\n" + text)
    [problem] = refused.value.problems
    assert (problem.path, problem.line) == (path, 2)
    assert problem.column > 1
    assert message in problem.message
    assert next_step in problem.next_step


def test_right_steps_keep_their_options_and_code_takes_any() -> None:
    text = """
    pre: [{op: resize, size: [1, 2], x-note: [free]}, {code: 'a.b:c', depth: {d: 1}}]
    visualise: [{op: bar}, {op: bar, name: more, as: image/svg+xml}, {code: 'a:draw', as: image/png, n: 1}]
    """
    facts = read_config(text)
    assert dict(facts["pre"].value[0].options)["size"] == [1, 2]
    assert dict(facts["pre"].value[1].options) == {"depth": {"d": 1}}
    assert [drawing_name(step) for step in facts["visualise"].value] == ["bar", "more", "draw"]


def test_requirements_are_those_of_what_is_used() -> None:
    bar = Step(op="bar")
    assert requirements_of((Step(op="softmax"),), ()) == ()
    assert requirements_of((Step(op="resize"), Step(op="resize")), (bar,)) == (
        "pillow>=11",
        "vl-convert-python>=1.7",
    )
    as_json = Step(op="bar", options=(("as", "application/vnd.vegalite.v5+json"),))
    assert requirements_of((), (as_json, Step(op="table"))) == ()
    assert requirements_of((), (Step(code="a:b"),)) == ("nh3>=0.2.18",)


def test_defaults_of_every_option_are_right_by_themselves() -> None:
    for operation in (*STEPS, *DRAWINGS):
        for option in operation.options:
            if not option.is_required and option.default not in (None, "", ()):
                assert mistake(option, option.default) == "", (operation.name, option.name)
