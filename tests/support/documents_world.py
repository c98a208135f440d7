"""What the documents say that their reader has: files, projects, versions of models; made small."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.support.documents import blocks
from tests.support.model_components import onnx_component

SEEING = """
from PIL import Image


class Cats:
    def predict(self, image: Image) -> dict:
        return {"width": image.size[0]}
"""
BOTH = """
class Both:
    def predict(self, x: list, text: str) -> str:
        return f"{text} {x}"
"""


def _write_iris(folder: Path, version: int) -> None:
    import onnx

    onnx_component(folder)
    model = onnx.load(folder / "linear.onnx")
    model.doc_string = f"the {version}. of them"
    onnx.save(model, folder / "iris.onnx")
    (folder / "linear.onnx").unlink()


def _write_picture(path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 48), (200, 120, 30)).save(path)


def write_models(place: Path) -> None:
    """iris.onnx in four versions, greeter.py as its page has it, what sees, what takes two things; rows for them."""
    for version in range(1, 5):
        _write_iris(place / f"version-{version}", version)
    shutil.copy(place / "version-1" / "iris.onnx", place)
    (place / "known.yaml").write_text("serving: {idle_unload: 10m}\n")
    (place / "model.yaml").write_text("kind: Model\nserving: {deadline: 3s}\n")
    (place / "rows.csv").write_text("5.1,3.5,1.4,0.2\n6.7,3.0,5.2,2.3\n")
    (place / "greeter.py").write_text(next(blocks("docs/models.md", "python")).text)
    (place / "cats.py").write_text(SEEING)
    _write_picture(place / "cat.png")
    (place / "both.py").write_text(BOTH)
    (place / "all.json").write_text(json.dumps({"x": [[1, 2]], "text": "hello"}))


def write_canvases(place: Path) -> None:
    """The projects that pages name: a document each, for `yard graph save`."""
    [ocr] = blocks("docs/triggers.md", "json")
    (place / "ocr.json").write_text(ocr.text)
    (place / "page.txt").write_text("what was read")


def write_tables(place: Path) -> None:
    """prices.csv and photo.jpg."""
    (place / "prices.csv").write_text("city,price\nRome,3\nOslo,9\nRome,5\n")
    _write_picture(place / "photo.jpg")
