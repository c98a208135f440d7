"""Steps by name and by the component's own code, against what numpy, Pillow and paper say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from modelyard.serving.errors import ComponentUnfit, InvalidValue
from modelyard.serving.steps import prepare
from modelyard.serving.steps.pipeline import EACH, WHOLE
from modelyard.serving.vocabulary import STEPS

HERE = Path()


def done(op: str, given_: Any, phase: str = "pre", **options: Any) -> Any:
    return prepare([{"op": op, "options": options}], HERE, phase=phase)({"x": given_})["x"]


def test_every_step_of_the_table_is_there() -> None:
    assert {one.name for one in STEPS} == {*EACH, *WHOLE}


def test_picture_is_resized_as_pillow_does_it() -> None:
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    ours = done("resize", image, size=[10, 12], method="bicubic")
    theirs = np.asarray(Image.fromarray(image).resize((12, 10), Image.Resampling.BICUBIC))
    assert ours.shape == (10, 12, 3) and ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def test_pictures_fit_with_a_border_by_the_shorter_side_or_stretched() -> None:
    wide = np.full((10, 40, 1), 200, np.uint8)
    framed = done("resize", wide, size=[20, 20], fit="contain", fill=7)
    assert framed.shape == (20, 20, 1)
    assert framed[0, 0, 0] == 7 and framed[10, 10, 0] == 200
    assert done("resize", wide, size=[20, 20], fit="shorter").shape == (20, 80, 1)
    assert done("resize", np.moveaxis(wide, -1, 0)[None], size=[5, 6], layout="chw").shape == (1, 1, 5, 6)


def test_crop_gray_and_colours() -> None:
    image = np.arange(6 * 7 * 3, dtype=np.uint8).reshape(6, 7, 3)
    assert np.array_equal(done("centre_crop", image, size=[2, 3]), image[2:4, 2:5])
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    assert done("to_gray", red).tolist() == [[[76], [76]], [[76], [76]]]
    assert done("to_rgb", np.ones((2, 2, 1), np.uint8)).shape == (2, 2, 3)
    assert done("to_rgb", np.ones((2, 2, 4), np.uint8)).shape == (2, 2, 3)


def test_numbers() -> None:
    assert done("normalize", np.array([[1, 2], [3, 4]]), mean=[1, 2], std=[2, 2]).tolist() == [[0, 0], [1, 1]]
    assert done("scale", np.array([0, 255], np.uint8), factor=1 / 255).tolist() == [0, 1]
    assert done("clip", np.array([-5, 5, 50]), least=0, most=10).tolist() == [0, 5, 10]
    assert done("fill_missing", np.array([1.0, np.nan]), value=3).tolist() == [1, 3]
    assert done("cast", np.array([b"1", "2"], object), datatype="INT64").tolist() == [1, 2]
    assert done("cast", np.array([1.9, -1.9]), datatype="INT8").tolist() == [1, -1]
    assert done("round", np.array([1.26]), decimals=1).tolist() == [1.3]
    assert done("one_hot", np.array([[0], [2]]), size=3).tolist() == [[[1, 0, 0]], [[0, 0, 1]]]
    assert done("one_hot", np.array([b"no", "yes"], object), categories=["yes", "no"]).tolist() == [
        [0, 1],
        [1, 0],
    ]


def test_texts() -> None:
    texts = np.array([["  ÄB "], [b" c"]], object)
    found = prepare([{"op": "lower"}, {"op": "strip"}, {"op": "truncate", "options": {"most": 1}}], HERE)(
        {"x": texts}
    )
    assert found["x"].tolist() == [["ä"], ["c"]]


def test_classes_and_labels() -> None:
    steps = [
        {"op": "softmax"},
        {"op": "top_k", "options": [["k", 2], ["on", "x"]]},
        {"op": "argmax", "options": {"on": "z"}},
    ]
    tensors = [{"name": "x", "columns": ["a", "b", "c"]}, {"name": "z", "columns": ["no", "yes"]}]
    last = {"op": "label", "options": {"on": ["z"]}}
    found = prepare([*steps, last], HERE, phase="post", tensors=tensors)(
        {"x": np.array([[0.0, 2.0, 1.0]]), "z": np.array([[1, 4]])}
    )
    assert found["x_label"].tolist() == [["b", "c"]]
    assert found["x_index"].tolist() == [[1, 2]]
    assert found["z"].tolist() == ["yes"]


def test_result_can_have_a_name_of_its_own_and_columns_can_be_chosen_by_name() -> None:
    pipeline = prepare(
        [
            {"op": "select", "options": {"on": "x", "columns": ["c", "a"]}},
            {"op": "select", "options": {"on": "x", "columns": ["a"], "to": "y"}},
            {"op": "rename", "options": {"on": "x", "to": "z"}},
        ],
        HERE,
        tensors=[{"name": "x", "columns": ["a", "b", "c"]}],
    )
    given_ = {"x": np.array([[1, 2, 3]])}
    with pytest.raises(InvalidValue, match="there is no value 'q'"):
        prepare([{"op": "rename", "options": {"on": "q", "to": "z"}}], HERE)(given_)
    found = pipeline(given_)
    assert found["z"].tolist() == [[3, 1]]
    assert given_["x"].tolist() == [[1, 2, 3]]
    # A call leaves nothing behind for the next one.
    assert pipeline(given_)["z"].tolist() == [[3, 1]]


def test_of_boxes_that_cover_each_other_the_best_stays() -> None:
    values = {
        "boxes": np.array([[[0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30], [0, 0, 10, 10]]], np.float32),
        "scores": np.array([[[0.6, 0], [0.9, 0.1], [0.3, 0.2], [0.0, 0.8]]], np.float32),
    }
    found = prepare([{"op": "nms"}], HERE, phase="post")(values)
    assert found["boxes"].tolist() == [[1, 1, 10, 10], [0, 0, 10, 10], [20, 20, 30, 30]]
    assert found["classes"].tolist() == [0, 1, 0]
    assert np.allclose(found["scores"], [0.9, 0.8, 0.3])
    none = prepare([{"op": "nms"}], HERE, phase="post")({"boxes": np.zeros((0, 4)), "scores": np.zeros(0)})
    assert none["boxes"].shape == (0, 4)


@pytest.mark.parametrize(
    ("op", "value", "options", "words"),
    [
        ("resize", np.zeros((4, 4)), {"size": [2, 2]}, "a picture has three axes"),
        ("resize", np.zeros((0, 4, 3)), {"size": [2, 2]}, "no pixels"),
        ("resize", np.zeros((1, 16_000, 1)), {"size": [16_000, 16_000]}, "more than"),
        ("resize", np.zeros((1, 4_000, 1), np.uint8), {"size": [8_000, 16_000], "fit": "shorter"}, "pixels"),
        ("centre_crop", np.zeros((4, 4, 3)), {"size": [5, 5]}, "smaller than 5 x 5"),
        ("normalize", np.zeros((2, 3)), {"mean": [1, 2]}, "2 numbers are given, and its axis -1 has 3"),
        ("normalize", np.array(["a"], object), {}, "it holds texts"),
        ("transpose", np.zeros((2, 3)), {"axes": [0, 1, 2]}, "axes"),
        ("reshape", np.zeros(6), {"shape": [4, 2]}, "reshape"),
        ("squeeze", np.zeros((2, 3)), {"axis": 0}, "axis"),
        ("one_hot", np.array([5]), {"size": 3}, "there are 3 classes"),
        ("one_hot", np.array(["red"], object), {"categories": ["a"]}, "'red' is none of a"),
        ("one_hot", np.zeros(1 << 20, np.int8), {"size": 1 << 20}, "too many"),
        ("lower", np.array([1, 2]), {}, "wants texts"),
        ("lower", np.array([b"\xff"], object), {}, "UTF-8"),
        ("cast", np.array(["1", "two"], object), {"datatype": "FP32"}, "'two' at [1] is no number"),
        ("select", np.zeros((2, 2)), {"columns": ["a"]}, "no column 'a'"),
        ("select", np.zeros((2, 2)), {"columns": [7]}, "index 7"),
        ("label", np.array([3]), {"labels": ["a"]}, "3 has no label"),
        ("scale", np.zeros(2), {"on": "y"}, "there is no value 'y'; there are x"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_refused_with_step_and_value(
    op: str, value: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidValue) as refused:
        done(op, value, **options)
    assert refused.value.field == "pre[0]"
    assert words in refused.value.message, refused.value.message
    with pytest.raises(ComponentUnfit):
        done(op, value, phase="post", **options)


@settings(deadline=None, max_examples=60)
@given(
    arrays(
        np.float32, array_shapes(min_dims=1, max_dims=3, max_side=6), elements=st.floats(-1e6, 1e6, width=32)
    )
)
def test_probabilities_are_such_whatever_the_numbers(values: Any) -> None:
    found = done("softmax", values)
    assert np.allclose(found.sum(axis=-1), 1, atol=1e-4)
    assert (found >= 0).all() and found.dtype == np.float32
    chances = done("sigmoid", values)
    assert ((chances >= 0) & (chances <= 1)).all()
    assert np.array_equal(done("argmax", values), values.argmax(axis=-1))


@settings(deadline=None, max_examples=60)
@given(
    arrays(
        np.float32, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.floats(-100, 100, width=32)
    ),
    st.integers(1, 8),
)
def test_largest_are_the_largest_with_their_places(values: Any, k: int) -> None:
    found = prepare([{"op": "top_k", "options": {"k": k}}], HERE, phase="post")({"x": values})
    assert np.array_equal(found["x"], -np.sort(-values, axis=-1)[:, :k])
    assert np.array_equal(np.take_along_axis(values, found["x_index"], -1), found["x"])


@settings(deadline=None, max_examples=60)
@given(array_shapes(min_dims=3, max_dims=4, max_side=5))
def test_layout_there_and_back_is_the_same(shape: tuple[int, ...]) -> None:
    value = np.arange(np.prod(shape)).reshape(shape)
    turned = done("layout", value, **{"from": "hwc", "into": "chw"})
    assert np.array_equal(done("layout", turned, **{"from": "chw", "into": "hwc"}), value)


@pytest.fixture
def component(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "own_steps.py").write_text(
        "import numpy as np\n"
        "def double(value, by=2):\n    return np.asarray(value) * by\n"
        "def whole(values, parameters, keep=()):\n"
        "    return {**{k: values[k] for k in keep}, 'y': values['x'] + parameters.get('add', 0)}\n"
        "def wrong(values):\n    return 3\n"
        "def picky(value):\n    raise ValueError('there is no face in it')\n"
        "def broken(value):\n    return value.nothing\n"
        "class Group:\n    @staticmethod\n    def inside(value):\n        return value\n"
        "number = 5\n"
    )
    (tmp_path / "broken_steps.py").write_text("def (:\n")
    yield tmp_path
    sys.path.remove(str(tmp_path.resolve()))
    sys.modules.pop("own_steps", None)


def test_own_code_takes_one_value_or_all(component: Path) -> None:  # S2.5
    steps = [
        {"code": "own_steps:double", "options": {"on": "x", "by": 3}},
        {"code": "own_steps:whole", "options": {"keep": ["x"]}},
        {"code": "own_steps:Group.inside", "options": {"on": ["y"]}},
    ]
    found = prepare(steps, component)({"x": np.array([1])}, {"add": 10})
    assert {name: value.tolist() for name, value in found.items()} == {"x": [3], "y": [13]}


def test_own_code_that_fails_is_told(component: Path) -> None:
    def of(function: str, **options: Any) -> Any:
        return prepare([{"code": f"own_steps:{function}", "options": options}], component)(
            {"x": np.array([1])}
        )

    with pytest.raises(ComponentUnfit, match="gave int"):
        of("wrong")
    with pytest.raises(InvalidValue, match="own_steps:picky: x: there is no face in it"):
        of("picky", on="x")
    with pytest.raises(InvalidValue, match="AttributeError"):
        of("broken", on="x")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("own_steps:missing", "has no function 'missing'"), ("own_steps:number", "has no function"),
        ("nowhere_at_all:f", "cannot be imported"), ("broken_steps:f", "is no Python"),
        ("os:system", "only its own code"), ("builtins:eval", "only its own code"),
    ],
)  # fmt: skip
def test_code_that_is_not_the_components_is_not_called(
    component: Path, code: str, words: str
) -> None:  # S2.5
    with pytest.raises(ComponentUnfit) as refused:
        prepare([{"code": "own_steps:double"}, {"code": code}], component)
    assert words in refused.value.message
    assert refused.value.field == "pre[1].code"


def test_unknown_step_is_refused() -> None:
    with pytest.raises(ComponentUnfit, match="no operation 'nothing'"):
        prepare([{"op": "nothing"}], HERE)
