"""Runtime parameters find their container or environment, and the same one again (S2.4)."""

import json

import pytest

from modelyard.models import Runtime
from services.models.surroundings.association import (
    FRAME_ARGV,
    HOLDER_BYTES,
    FrameTrouble,
    ImageRule,
    NoImage,
    RuntimeMap,
    TriedImage,
    associate,
    enclosure_of,
    node_labels,
    read_images,
    requirements_text,
    seat_memory_bytes,
    trouble_of,
)

IMAGES = (
    ImageRule(image="yard/cv:{python}", system=("libgl1", "ffmpeg")),
    ImageRule(image="yard/cuda", python="3.12", has_gpu=True),
    ImageRule(image="python:{python}-slim"),
)


def test_runtime_without_kind_is_an_environment() -> None:  # S2.4
    found = associate(Runtime(requirements=("onnxruntime>=1.20",)), "3.11")
    assert (found.kind, found.image, found.python) == ("environment", "", "3.11")
    assert "onnxruntime>=1.20" in found.why and node_labels(found) == {}


def test_container_by_one_word_gets_pythons_slim_image_and_the_same_packages() -> None:  # S2.4, N2
    environment = associate(Runtime(requirements=("skops",), memory_bytes=1 << 30), "3.12")
    container = associate(Runtime(kind="container", requirements=("skops",), memory_bytes=1 << 30), "3.12")
    assert container.image == "python:3.12-slim"
    assert container.environment_key == environment.environment_key
    assert "python:3.12-slim" in container.why and "no network" in container.why
    assert node_labels(container) == {"containers": "yes"}


def test_same_parameters_in_another_order_find_the_same_association() -> None:  # S2.4
    one = associate(Runtime(kind="container", requirements=("skops", "numpy>=2"), system=()), "3.11")
    two = associate(Runtime(kind="container", requirements=("numpy>=2", "skops "), python="3.11"), "3.9")
    assert one.environment_key == two.environment_key
    assert one.requirements == two.requirements == "numpy>=2\nskops\n"
    assert one.key == associate(Runtime(kind="container", requirements=("numpy>=2", "skops")), "3.11").key


@pytest.mark.parametrize(
    "other", [Runtime(cpu=2.0), Runtime(memory_bytes=1), Runtime(gpu=1.0), Runtime(has_network=True)]
)
def test_other_parameters_find_another_association(other: Runtime) -> None:
    assert associate(other, "3.11").key != associate(Runtime(), "3.11").key


def test_image_is_the_first_that_has_what_the_system_needs() -> None:
    assert associate(Runtime(kind="container", system=("libgl1",)), "3.11", IMAGES).image == "yard/cv:3.11"
    assert associate(Runtime(kind="container", gpu=1.0), "3.12", IMAGES).image == "yard/cuda"
    # Where no image is for devices, the others will do: drivers are handed in.
    assert associate(Runtime(kind="container", gpu=1.0), "3.11", IMAGES).image == "yard/cv:3.11"
    named = Runtime(kind="container", image="mine:1", system=("libx",))
    assert associate(named, "3.11", IMAGES).image == "mine:1"


def test_system_package_that_no_image_has_is_refused_with_the_field() -> None:
    with pytest.raises(NoImage) as refused:
        associate(Runtime(kind="container", system=("libfoo",)), "3.11", IMAGES)
    assert refused.value.field == "runtime.system"
    assert "libfoo" in str(refused.value) and "runtime.image" in str(refused.value)


def test_python_that_no_image_has_is_refused_with_the_field() -> None:
    with pytest.raises(NoImage) as refused:
        associate(Runtime(kind="container", python="3.14"), "3.11", (ImageRule(image="x", python="3.12"),))
    assert refused.value.field == "runtime.python"


@pytest.mark.parametrize(
    ("given", "text"),
    [((), "numpy\n"), (("numpy==2.1",), "numpy==2.1\n"), (("NumPy >= 2", " "), "NumPy >= 2\n")],
)
def test_requirements_have_numpy_always_and_once(given: tuple[str, ...], text: str) -> None:
    assert requirements_text(given) == text


def test_option_names_images_before_pythons_own() -> None:  # S2.4
    read = read_images("yard/cv:{python}=libgl1+ffmpeg, host:5000/cuda:1=gpu+3.12")
    assert read == (
        ImageRule(image="yard/cv:{python}", system=("libgl1", "ffmpeg")),
        ImageRule(image="host:5000/cuda:1", python="3.12", has_gpu=True),
        ImageRule(image="python:{python}-slim"),
    )
    runtimes = RuntimeMap(python="3.11", images=read)
    assert runtimes.find(Runtime(kind="container", system=("ffmpeg",))).image == "yard/cv:3.11"
    assert read_images(" ") == (ImageRule(image="python:{python}-slim"),)


@pytest.mark.parametrize("text", ["=gpu", "a b", "x=3.11+3.12"])
def test_option_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_images(text)


def test_enclosure_is_plain_data_and_the_seat_has_room_for_its_holder() -> None:
    found = associate(Runtime(kind="container", memory_bytes=1 << 30), "3.11")
    assert json.loads(json.dumps(enclosure_of(found)))["image"] == "python:3.11-slim"
    tried = TriedImage("python:3.11-slim", "own:1", "sha256:1")
    assert enclosure_of(found, tried)["tried"] == {"name": "own:1", "digest": "sha256:1", "source": ""}
    assert enclosure_of(found, TriedImage("other:1", "other:1", "sha256:1"))["tried"] == {}
    assert seat_memory_bytes(found) == (1 << 30) + HOLDER_BYTES
    assert FRAME_ARGV == ("yard-frame",)


def test_trouble_is_read_from_the_last_lines_of_the_right_exit_only() -> None:
    line = 'frame: {"code": "FAILED_PRECONDITION", "field": "runtime.kind", "message": "no engine"}'
    expected = FrameTrouble(code="FAILED_PRECONDITION", field="runtime.kind", message="no engine")
    assert trouble_of(70, ["something", line]) == expected
    assert trouble_of(1, [line]) is None
    assert trouble_of(70, ["frame: not json", "frame: []", "boom"]) is None
