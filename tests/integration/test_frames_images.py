"""The image that a version was tried in is what its frames are made of, whatever its name means later (S2.4)."""

from __future__ import annotations

import io
import os
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from modelyard.enclosure.base_image import own_image
from modelyard.enclosure.engine import Engine, EngineFailed
from modelyard.enclosure.image import resolve
from modelyard.enclosure.order import Image, Trouble
from tests.support.enclosed_frames import IMAGE, code_component, enclosed, need, said

UPPER = """
class Upper:
    def predict(self, x: str) -> str:
        return x.upper()
"""


@pytest.fixture
def engine() -> Engine:
    need("container")
    return Engine.find(os.environ)


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    """Of an image that is taken away again, in all that it has meant."""
    made = f"modelyard-test/{uuid.uuid4().hex[:12]}:1"
    yield made
    while digest := engine.image_id(made):
        forget(engine, digest)


def make(engine: Engine, name: str, content: str) -> str:
    """A small image of one file; its digest."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("content")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content.encode()))
    archive.seek(0)
    engine.import_image(name, archive)
    return engine.image_id(name)


def forget(engine: Engine, digest: str) -> None:
    with suppress(EngineFailed):
        engine._ask("DELETE", f"/images/{digest}?force=true")


def test_image_that_was_tried_is_taken_by_its_id_when_its_name_means_another(
    engine: Engine, name: str
) -> None:  # S2.4
    first = make(engine, name, "one")
    tried = resolve(engine, name, Image(), os.environ)
    assert (tried.name, tried.digest) == (name, first)
    assert resolve(engine, name, tried, os.environ) == tried
    second = make(engine, name, "two")
    assert second != first
    assert resolve(engine, name, tried, os.environ).name == first
    assert resolve(engine, name, Image(), os.environ).digest == second, (
        "who was never tried takes what there is"
    )
    forget(engine, first)


def test_image_that_is_another_now_is_refused_with_the_field_and_the_way_out(
    engine: Engine, name: str
) -> None:  # S2.4
    tried = Image(name, make(engine, name, "one"))
    forget(engine, tried.digest)
    make(engine, name, "two")
    with pytest.raises(Trouble, match="yard model config put") as refused:
        resolve(engine, name, tried, os.environ)
    assert (refused.value.code, refused.value.field) == ("FAILED_PRECONDITION", "runtime.image")
    assert tried.digest[:19] in refused.value.message


def test_image_of_a_nodes_own_python_is_known_by_its_name(engine: Engine) -> None:  # S2.4, N2
    """Each node makes its own, so their ids differ."""
    own = own_image(IMAGE)
    elsewhere = Image(own, "sha256:" + "0" * 64)
    assert resolve(engine, IMAGE, elsewhere, os.environ).name == own
    with pytest.raises(Trouble, match="cannot be had"):
        resolve(engine, IMAGE, Image("modelyard/python:2.7-1", "sha256:" + "0" * 64), os.environ)


def test_frame_is_refused_in_an_image_that_it_was_not_tried_in(
    tmp_path: Path, engine: Engine, name: str
) -> None:  # S2.4
    component, config = code_component(tmp_path / "component", UPPER)
    gone = {"name": name, "digest": "sha256:" + "0" * 64, "source": ""}
    make(engine, name, "another")
    wanted: dict[str, Any] = {"image": name, "tried": gone}
    with enclosed(component, config, tmp_path / "seat", "container", **wanted) as frame:
        trouble = frame.trouble()
    assert (trouble.code, trouble.field) == ("FAILED_PRECONDITION", "runtime.image")


def test_frame_serves_in_the_image_that_it_was_tried_in(tmp_path: Path, engine: Engine) -> None:  # S2.4
    component, config = code_component(tmp_path / "component", UPPER)
    tried = resolve(engine, IMAGE, Image(), os.environ).plain()
    with enclosed(component, config, tmp_path / "seat", "container", tried=tried) as frame:
        assert said(frame.connected(), "ada") == "ADA"
