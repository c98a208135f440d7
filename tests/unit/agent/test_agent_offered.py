"""Parameters of the agent's environment (S1.4, S1.5): which may be named, and how the others are refused."""

from __future__ import annotations

import hashlib

import pytest

from services.agent.host.offered import (
    BYTES_MOST,
    SHOWN_BYTES_MOST,
    OfferedParameters,
    ParametersMissing,
)
from services.agent.messages.convert import exited_of
from services.agent.tasks import effects as do
from services.agent.tasks.events import NeedFailed, NeedReady
from services.agent.tasks.model import Cause, Exit, Given
from tests.support.agent_machine import Bench, body


def offered(**variables: str) -> OfferedParameters:
    return OfferedParameters("n1", variables)


def test_variable_with_the_prefix_is_given_as_it_is() -> None:
    given = offered(MODELYARD_PARAM_SIZES='{"w": 3}').read("SIZES")
    assert given == Given("MODELYARD_PARAM_SIZES", '{"w": 3}', hashlib.sha256(b'{"w": 3}').hexdigest())


def test_change_of_the_variable_is_seen_by_the_next_attempt() -> None:
    variables = {"MODELYARD_PARAM_A": "{}"}
    source = OfferedParameters("n1", variables)
    assert source.read("A").params_json == "{}"
    variables["MODELYARD_PARAM_A"] = '{"b":1}'
    assert source.read("A").params_json == '{"b":1}'


@pytest.mark.parametrize("name", ["SECRET", "PATH", "YARD_TOKEN"])
def test_variable_without_the_prefix_cannot_be_named(name: str) -> None:
    # S1.4: nothing secret of an agent can be asked for by a canvas
    variables = {name: '{"stolen": 1}', "XMODELYARD_PARAM_A": "{}"}
    with pytest.raises(
        ParametersMissing, match=rf"MODELYARD_PARAM_{name} of the agent on node n1 is not set"
    ):
        OfferedParameters("n1", variables).read(name)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "is not JSON"),
        ("{x", r"is not JSON \(byte 1\)"),
        ("[1]", "is not a JSON object"),
        ("3", "is not a JSON object"),
        ('{"a": NaN}', "is not JSON"),
        ('{"a": "\udcff"}', "is not JSON"),
        ('{"a": "\\ud800"}', "is not JSON"),
        ('{"a":' * 5_000, "is nested too deeply"),
        ('{"a": "' + "x" * BYTES_MOST + '"}', f"has {BYTES_MOST + 9} bytes, more than {BYTES_MOST}"),
    ],
)
def test_what_is_no_small_object_is_refused_without_its_content(text: str, wrong: str) -> None:
    with pytest.raises(
        ParametersMissing, match=f"MODELYARD_PARAM_A of the agent on node n1 {wrong}"
    ) as caught:
        offered(MODELYARD_PARAM_A=text).read("A")
    assert caught.value.next_step.startswith("on n1: ")
    assert "xxx" not in str(caught.value)


def test_largest_object_is_taken() -> None:
    text = '{"a":"' + "x" * (BYTES_MOST - 8) + '"}'
    assert offered(MODELYARD_PARAM_A=text).read("A").params_json == text


def test_given_parameters_lie_between_the_specification_and_the_item() -> None:
    bench = Bench()
    needy = body(parameter_env="A", staged=True, params_json='{"a":1,"b":1,"c":1}')
    bench.start("t-1", of=needy, params_json='{"c":3}')
    assert bench.effects[-1] == do.Prepare("stage:t-1/1", bench.state.tasks["t-1/1"])
    bench.apply(NeedReady("stage:t-1/1", Given("MODELYARD_PARAM_A", '{"b":2,"c":2}', "d")))
    task = bench.state.tasks["t-1/1"]
    assert (task.body.params_json, task.params_json) == ('{"a":1,"b":2,"c":2}', '{"c":3}')
    assert needy.params_json == '{"a":1,"b":1,"c":1}'
    bench.ready()
    bench.end("t-1")
    assert task.exit is not None and task.exit.given is not None
    assert exited_of(task.exit, "none").usage.given_parameters.params_json == '{"b":2,"c":2}'


def test_missing_parameters_end_the_attempt_as_setup() -> None:
    bench = Bench()
    bench.start("t-1", of=body(parameter_env="A", staged=True))
    bench.apply(NeedFailed("stage:t-1/1", "the variable is not set", "set it"))
    error = bench.state.tasks["t-1/1"].exit.error  # type: ignore[union-attr]
    assert error is not None
    assert (error.cause, error.next_step) == (Cause.SETUP, "set it")


def test_long_parameters_are_told_by_their_digest() -> None:
    long = Given("MODELYARD_PARAM_A", '{"a":"' + "x" * SHOWN_BYTES_MOST + '"}', "d" * 64)
    told = exited_of(Exit(given=long), "none").usage.given_parameters
    assert (told.variable, told.digest, told.params_json) == ("MODELYARD_PARAM_A", "d" * 64, "")
