"""What this project answers is what Triton and MLServer answer, or it is known why not (S2.5)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelyard.oip.v2 import inference_pb2 as pb
from tests.differential.cases import CASES, outcome
from tests.differential.corpus import GRAPHS, SKLEARN, arrays_of, example_of
from tests.differential.known import codes, differences, sayings

MODELS = (*GRAPHS, SKLEARN)
OTHERS = ("triton", "mlserver")
METHODS = {"predict": "label", "predict_proba": "probabilities"}


def answers_of(server: Any, name: str) -> list[pb.ModelInferResponse]:
    """To the raw and to the typed request, with all outputs."""
    found = []
    for asked in (example_of(name).raw, example_of(name).typed):
        request = pb.ModelInferRequest()
        request.CopyFrom(asked)
        if name == SKLEARN and server.name == "mlserver":
            for method in METHODS:
                request.outputs.add(name=method)
        found.append(server.ModelInfer(request))
    return found


def compared(own: pb.ModelInferResponse, other: pb.ModelInferResponse) -> set[str]:
    """In what two answers differ. Raises where values do."""
    found = set()
    if bool(own.raw_output_contents) != bool(other.raw_output_contents):
        found.add("typed")
    assert (own.model_name, own.id) == (other.model_name, other.id)
    ours, theirs = arrays_of(own), arrays_of(other)
    if set(ours) != set(theirs):
        found.add("names")
        theirs = {METHODS[name]: array for name, array in theirs.items()}
    assert set(ours) == set(theirs)
    for name, array in ours.items():
        if array.shape != theirs[name].shape:
            found.add("shape")
        assert array.dtype == theirs[name].dtype, name
        same(array, theirs[name].reshape(array.shape))
    return found


def same(one: Any, other: Any) -> None:
    if one.dtype == np.object_:
        assert one.tolist() == other.tolist()
    else:
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in GRAPHS if example_of(name).shipped])
def test_answer_is_the_one_that_was_shipped_with_the_model(servers: Any, name: str) -> None:
    for answer in answers_of(servers["modelyard"], name):
        arrays = arrays_of(answer)
        assert set(arrays) == set(example_of(name).shipped)
        for output, array in example_of(name).shipped.items():
            same(arrays[output], array)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_of_another_server(servers: Any, name: str, other: str) -> None:
    known = differences().get((name, other), set()) | differences().get(("all", other), set())
    if "absent" in known:
        assert outcome(servers[other], lambda stub: stub.ModelInfer(example_of(name).raw)) == "NOT_FOUND"
        return
    found: set[str] = set()
    pairs = zip(answers_of(servers["modelyard"], name), answers_of(servers[other], name), strict=True)
    for own, theirs in pairs:
        found |= compared(own, theirs)
    assert found == known


def said_of(metadata: pb.ModelMetadataResponse, other: pb.ModelMetadataResponse) -> set[str]:
    """In what two descriptions differ."""
    found = {field for field in ("platform", "versions") if getattr(metadata, field) != getattr(other, field)}
    for side in ("inputs", "outputs"):
        ours, theirs = getattr(metadata, side), getattr(other, side)
        if [(one.name, one.datatype) for one in ours] != [(one.name, one.datatype) for one in theirs]:
            found.add(side)
        elif [list(one.shape) for one in ours] != [list(one.shape) for one in theirs]:
            found.add("sizes")
    return found


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", MODELS)
def test_metadata_are_those_of_another_server(servers: Any, name: str, other: str) -> None:
    known = sayings().get((name, other), set()) | sayings().get(("all", other), set())
    if "absent" in known:
        return
    request = pb.ModelMetadataRequest(name=name)
    own, theirs = servers["modelyard"].ModelMetadata(request), servers[other].ModelMetadata(request)
    assert own.name == theirs.name == name
    assert said_of(own, theirs) == known


@pytest.mark.parametrize("case", CASES)
def test_wrong_requests_get_the_codes_that_are_written_down(servers: Any, case: str) -> None:
    found = [outcome(servers[name], CASES[case]) for name in ("modelyard", *OTHERS)]
    assert found == codes()[case]


def test_every_case_is_written_down_once() -> None:
    assert list(codes()) == list(CASES)
