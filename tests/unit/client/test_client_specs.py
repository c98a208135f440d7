"""Specifications from plain values."""

from __future__ import annotations

import pytest

from modelyard.client.specs import InvalidSpecification, Options, command_spec, encode_params, operator_spec
from modelyard.v1 import task_pb2


def test_operator_spec_without_options_is_small() -> None:
    spec = operator_spec("echo")
    assert spec == task_pb2.TaskSpec(operator=task_pb2.OperatorWork(operator="echo"))
    assert spec.ByteSize() < 10


def test_every_option_has_its_place() -> None:
    spec = command_spec(
        ["python", "train.py"],
        Options(
            name="train",
            node="a",
            node_labels={"zone": "x"},
            policy="binpack",
            cpu=1.5,
            memory="512Mi",
            gpu=0.5,
            custom={"licence": 1},
            requirements="numpy",
            bundle_digest="d",
            env={"A": "1"},
            outputs=["*.png"],
            priority=3,
            array_size=4,
            retries=2,
            retry_backoff="1s",
            retry_on=["node_lost"],
            timeout="10m",
            queue_timeout=5,
            start_timeout=1.5,
            labels={"team": "a"},
            hold=True,
        ),
    )
    assert list(spec.command.argv) == ["python", "train.py"]
    assert (spec.placement.node, dict(spec.placement.labels)) == ("a", {"zone": "x"})
    assert spec.placement.policy == task_pb2.PLACEMENT_POLICY_BINPACK
    assert (spec.resources.cpu, spec.resources.memory_bytes, spec.resources.gpu) == (1.5, 512 << 20, 0.5)
    assert dict(spec.resources.custom) == {"licence": 1}
    assert (spec.environment.requirements, spec.bundle_digest) == ("numpy", "d")
    assert (spec.retry.max_attempts, list(spec.retry.on)) == (3, [task_pb2.TASK_CAUSE_NODE_LOST])
    assert spec.timeouts.run_timeout.seconds == 600
    assert (spec.timeouts.start_timeout.seconds, spec.timeouts.start_timeout.nanos) == (1, 500_000_000)
    assert (spec.priority, spec.array_size, spec.hold) == (3, 4, True)
    assert (dict(spec.env), dict(spec.labels), list(spec.outputs)) == ({"A": "1"}, {"team": "a"}, ["*.png"])


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"memory": "lots"}, "resources.memory_bytes"),
        ({"timeout": "soon"}, "timeouts.run_timeout"),
        ({"policy": "random"}, "placement.policy"),
        ({"retry_on": ["bad luck"]}, "retry.on"),
    ],
)
def test_option_that_makes_no_sense_names_its_field(options: Options, field: str) -> None:
    with pytest.raises(InvalidSpecification) as caught:
        operator_spec("echo", options)
    assert caught.value.field == field
    assert caught.value.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize("argv", [[], "ls -l"])
def test_command_that_is_no_list_of_words_is_refused(argv: list[str]) -> None:
    with pytest.raises(InvalidSpecification):
        command_spec(argv)


def test_params_keep_large_integers_exact() -> None:
    assert encode_params({"n": 2**60, "t": "ü"}) == '{"n":1152921504606846976,"t":"ü"}'
