"""The golden output: a digest that forgives last places, and bounds that decide (N10 of the anchors, S2.6)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from modelyard.serving.calls import Answer, Call
from modelyard.serving.golden import KEPT_MOST, GoldenDiffers, call_of, compare, digest_of, example_of
from modelyard.serving.launch import Spec
from modelyard.serving.tensors import to_wire


def answer(**outputs: Any) -> Answer:
    pairs = [
        to_wire(name, value[0], Spec(name, value[1])) if isinstance(value, tuple) else to_wire(name, value)
        for name, value in outputs.items()
    ]
    return Answer([meta for meta, _ in pairs], [buffer for _, buffer in pairs])


def kept(found: Answer) -> dict[str, Any]:
    """As it comes out of a file."""
    meta, buffer = to_wire("x", np.array([[1.0, 2.0]]))
    plain: dict[str, Any] = json.loads(json.dumps(example_of(Call("id", [meta], [buffer]), found)))
    return plain


def test_an_example_is_the_same_call_after_a_file() -> None:
    call = call_of(kept(answer(y=np.zeros(1))))
    assert bytes(call.buffers[0]) == np.array([[1.0, 2.0]]).tobytes()
    assert call.inputs == [{"name": "x", "datatype": "FP64", "shape": [1, 2]}]


@pytest.mark.parametrize("broken", [{"inputs": [{"name": "x"}]}, {"inputs": 3}, {"inputs": [{"data": "ä"}]}])
def test_what_is_no_example_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"example|ASCII|padding|base64"):
        call_of(broken)


def test_a_digest_does_not_depend_on_the_order_of_outputs() -> None:
    a, b = np.array([1.0]), np.array([2])
    assert digest_of(answer(a=a, b=b)) == digest_of(answer(b=b, a=a))


@pytest.mark.parametrize(
    "other",
    [
        {"y": np.array([1.1, 2.0])},
        {"y": np.array([[1.0, 2.0]])},
        {"y": np.array([1.0, 2.0], np.float32)},
        {"z": np.array([1.0, 2.0])},
        {"y": np.array([np.nan, 2.0])},
    ],
)
def test_another_answer_has_another_digest_and_differs(other: dict[str, Any]) -> None:
    was = answer(y=np.array([1.0, 2.0]))
    assert digest_of(answer(**other)) != digest_of(was)
    with pytest.raises(GoldenDiffers) as differs:
        compare(kept(was), digest_of(was), answer(**other))
    assert differs.value.code == "GOLDEN_DIFFERS" and differs.value.field


@pytest.mark.parametrize(
    ("datatype", "noise"), [("FP32", 1e-6), ("FP64", 1e-9), ("FP16", 1e-3), ("BF16", 5e-3)]
)
def test_noise_of_last_places_keeps_the_given_digest(datatype: str, noise: float) -> None:
    numbers = np.random.default_rng(3)
    for _ in range(50):
        values = numbers.normal(size=40).astype(np.float32)
        was = answer(y=(values, datatype))
        noisy = values * (1 + noise * numbers.uniform(-1, 1, 40)).astype(np.float32)
        assert compare(kept(was), digest_of(was), answer(y=(noisy, datatype))) == digest_of(was)


def test_most_noise_does_not_change_the_digest_itself() -> None:
    numbers = np.random.default_rng(3)
    values = numbers.normal(size=3).astype(np.float32)
    digests = {digest_of(answer(y=values * np.float32(1 + 1e-6 * place))) for place in range(-5, 6)}
    assert len(digests) == 1


def test_texts_labels_and_flags_count_as_they_are() -> None:
    for value, other in (
        ([b"a"], [b"b"]),
        (np.array([1]), np.array([2])),
        (np.array([True]), np.array([False])),
    ):
        was = answer(y=value)
        assert compare(kept(was), digest_of(was), answer(y=value)) == digest_of(was)
        with pytest.raises(GoldenDiffers):
            compare(kept(was), digest_of(was), answer(y=other))


def test_of_a_large_output_a_sample_is_kept_and_compared() -> None:
    values = np.random.default_rng(3).normal(size=5 * KEPT_MOST)
    was = answer(y=values)
    example = kept(was)
    assert len(example["outputs"][0]["data"]) < 4 * 8 * KEPT_MOST / 2
    assert compare(example, digest_of(was), answer(y=values * (1 + 1e-9))) == digest_of(was)
    with pytest.raises(GoldenDiffers):
        compare(example, digest_of(was), answer(y=values * 1.1))


def test_without_outputs_the_digest_alone_decides() -> None:
    was = answer(y=np.array([1.0]))
    example = {name: value for name, value in kept(was).items() if name != "outputs"}
    assert compare(example, digest_of(was), was) == digest_of(was)
    with pytest.raises(GoldenDiffers):
        compare(example, digest_of(was), answer(y=np.array([1.5])))


def test_zeros_infinities_and_no_numbers_have_a_digest() -> None:
    odd = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e308, 5e-324])
    assert digest_of(answer(y=odd)) == digest_of(answer(y=odd.copy()))
    assert digest_of(answer(y=np.array([0.0]))) == digest_of(answer(y=np.array([-0.0])))
    assert digest_of(answer(y=np.zeros((0, 3))))
