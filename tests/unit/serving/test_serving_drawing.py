"""Drawings: PNG by decoding it, Vega-Lite by rendering it, HTML by what a browser would make of it (S2.7)."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modelyard.serving.drawing import Drawn, draw
from modelyard.serving.drawing.markup import cleaned
from modelyard.serving.errors import AnswerTooLarge, ComponentUnfit
from tests.support.charts import renderer

__all__ = ["renderer"]
pytestmark = pytest.mark.usefixtures("renderer")

VEGA_LITE = "application/vnd.vegalite.v5+json"
SVG = "image/svg+xml"
CONFIG = {
    "inputs": [{"name": "img"}],
    "outputs": [{"name": "p", "columns": ["cat", "dog"]}, {"name": "classes", "labels": ["cat", "dog"]}],
}
IMG = np.full((1, 60, 80, 3), 128, np.uint8)


def drawn(op: str, outputs: dict[str, Any], inputs: dict[str, Any] | None = None, **options: Any) -> Drawn:
    return draw({"op": op, "code": "", "options": list(options.items())}, inputs or {}, outputs, CONFIG)


def pixels_of(found: Drawn) -> Any:
    assert found.content_type == "image/png"
    with Image.open(io.BytesIO(found.content)) as image:
        assert (image.width, image.height) == (found.width, found.height)
        return np.asarray(image.convert("RGB"))


def test_boxes_are_where_they_should_be() -> None:
    outputs = {
        "boxes": np.array([[[10, 20, 40, 50], [0, 0, 5, 5]]], np.float32), "scores": np.array([[0.9, 0.1]]),
        "classes": np.array([[1, 0]]),
    }  # fmt: skip
    before = IMG.copy()
    found = pixels_of(drawn("boxes", outputs, {"img": IMG}))
    assert found.shape == (60, 80, 3)
    assert found[50, 25].tolist() == [60, 180, 75] and found[40, 40].tolist() == [60, 180, 75]
    assert (found[0:5, 0:5] == 128).all(), "one below the score is not drawn"
    assert np.array_equal(IMG, before)
    relative = {"boxes": np.array([[0.5, 0.5, 0.5, 0.5]]), "scores": np.array([1.0])}
    again = pixels_of(drawn("boxes", relative, {"img": IMG}, relative=True, format="cxcywh"))
    assert again[45, 40].tolist() == [230, 25, 75]


def test_boxes_beyond_the_picture_and_without_sense_are_drawn_as_far_as_they_are_in_it() -> None:
    wild = np.array([[np.nan, -np.inf, np.inf, 1e30], [70, 50, 10, 10], [-1e9, -1e9, -1, -1]])
    found = drawn("boxes", {"boxes": wild, "scores": np.ones(3)}, {"img": IMG})
    assert pixels_of(found).shape == (60, 80, 3)


def test_mask_and_heatmap_lie_over_the_picture() -> None:
    classes = np.zeros((1, 6, 8), np.int64)
    classes[0, :3] = 1
    found = pixels_of(drawn("mask", {"m": classes}, {"img": IMG}, alpha=1.0))
    assert found[5, 5].tolist() == [230, 25, 75] and found[55, 5].tolist() == [128, 128, 128]
    heat = np.linspace(0, 1, 48).reshape(6, 8)
    found = pixels_of(drawn("heatmap", {"h": heat}, {"img": np.moveaxis(IMG, -1, 1)}, alpha=1.0))
    assert found.shape == (60, 80, 3)
    assert found[0, 0].sum() < found[-1, -1].sum()
    assert pixels_of(drawn("heatmap", {"h": heat})).shape == (192, 256, 3)
    assert pixels_of(drawn("heatmap", {"h": np.full((3, 3), np.nan)})).shape == (255, 255, 3)


def test_large_pictures_are_drawn_smaller() -> None:
    found = drawn("heatmap", {"h": np.eye(4)}, {"img": np.zeros((10, 5_000, 3), np.uint8)})
    assert (found.width, found.height) == (2_048, 4)


CHARTS: list[tuple[str, Any, dict[str, Any]]] = [
    ("bar", np.array([[0.25, 0.75]]), {"title": "<b>chances</b>"}),
    ("bar", np.array([1.0, np.nan, np.inf]), {"most": 2}),
    ("line", np.arange(20.0).reshape(10, 2), {}),
    ("line", np.sin(np.arange(20_000)), {}),
    ("histogram", np.random.default_rng(1).normal(size=(50, 2)), {"bins": 7}),
    ("confusion", np.array([[5, 1], [0, 7]]), {"labels": ["cat", "dog"]}),
]


@pytest.mark.parametrize(("op", "values", "options"), CHARTS)
def test_charts_are_vega_lite_that_renders_and_png_and_svg(
    op: str, values: Any, options: dict[str, Any]
) -> None:
    chart = drawn(op, {"p": values}, **{**options, "as": VEGA_LITE})
    spec = json.loads(chart.content)
    assert chart.content_type == VEGA_LITE and len(chart.content) < 1 << 20
    # The language itself takes it: compiled, with every field that its encoding names in its data.
    compiled = vl_convert.vegalite_to_vega(spec, vl_version="5.20")
    assert compiled["marks"]
    assert set(re.findall(r'"field": "(\w+)"', json.dumps(spec))) <= set(spec["data"]["values"][0])
    image = pixels_of(drawn(op, {"p": values}, **options))
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 2, "something is to be seen"
    picture = drawn(op, {"p": values}, **{**options, "as": SVG})
    assert picture.content.startswith(b"<svg") and picture.width > 0
    assert b"<script" not in picture.content and b"<b>" not in picture.content


def test_bars_have_the_names_that_are_known() -> None:
    def labels(outputs: dict[str, Any], **options: Any) -> list[str]:
        spec = json.loads(drawn("bar", outputs, **{**options, "as": VEGA_LITE}).content)
        return [row["label"] for row in spec["data"]["values"]]

    chances = np.array([[0.1, 0.9]])
    assert labels({"p": chances}) == ["dog", "cat"]
    assert labels({"p": chances}, labels=["a", "b"]) == ["b", "a"]
    assert labels({"p": chances, "p_label": np.array([[b"x", "y"]], object)}) == ["y", "x"]
    assert labels({"q": chances}) == ["1", "0"]


class _Seen(HTMLParser):
    """What a browser would find."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_table_escapes_whatever_is_in_it() -> None:
    outputs = {
        "<script>alert(1)</script>": np.array(["<img src=x onerror=alert(2)>", b"</td>"], object),
        "p": np.array([[0.123456789, 2], [3, np.nan]]), "deep": np.zeros((2, 2, 2)), "d": {"a&b": [1, 2]},
    }  # fmt: skip
    found = drawn("table", outputs, title="<svg onload=alert(3)>")
    text = found.content.decode()
    seen = _Seen(text)
    assert found.content_type == "text/html"
    assert not {"script", "img", "svg"} & set(seen.tags)
    assert seen.tags.count("tr") == 3 and seen.tags.count("th") == 4
    assert "<th>cat</th><th>dog</th><th>a&amp;b</th>" in text and "0.123457" in text
    assert "default-src 'none'" in text


def test_table_is_bounded() -> None:
    found = drawn("table", {"y": np.arange(100_000), "wide": np.zeros((2, 5_000))}, most=5)
    assert found.content.count(b"<tr>") == 6
    assert len(found.content) < 50_000


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='  JaVaScRiPt:alert(1)'>x</a>",
    "<iframe src='https://evil'></iframe>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<img src='https://evil/pixel.png'>",
    "<style>body{background:url(https://evil)}</style>",
    "<p style='background:url(https://evil)'>x</p>",
    "<meta http-equiv=refresh content='0;url=https://evil'>",
    "<base href='https://evil'>",
    "<link rel=stylesheet href=//evil>",
    "<form action='https://evil'><input name=a></form>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<body onload=alert(1)>",
    "<object data='x'></object>",
    "<img src='data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+'>",
    "<video src='https://evil'></video>",
    "<p onclick=alert(1) id=x class=y>x</p>",
    "</body></html><script>alert(1)</script>",
    "<!--<script>-->alert(1)",
]
_SAFE = re.compile(r"(https?://|mailto:)", re.IGNORECASE)


def assert_harmless(text: str) -> None:
    seen = _Seen(text)
    forbidden = {
        "script", "svg", "iframe", "style", "meta", "base", "link", "form", "input", "object", "body", "video", "math",
        "noscript",
    }  # fmt: skip
    assert not forbidden & set(seen.tags), text
    for name, value in seen.attributes:
        assert not name.startswith("on") and name not in ("style", "id", "class", "srcset"), text
        if name == "href":
            assert _SAFE.match(value or ""), text
        if name == "src":
            assert re.match(r"data:image/(png|jpeg|gif|webp);base64,", value or ""), text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_html_of_the_components_code_is_harmless(hostile: str) -> None:  # S2.7
    assert_harmless(cleaned(f"<p>before</p>{hostile}<b>after</b>"))
    assert_harmless(cleaned(hostile))


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.sampled_from([*HOSTILE, "<", ">", "'", '"', "<!--", "-->", "&lt;", "<p>", "x", "\0"]), max_size=6
    )
)
def test_html_put_together_of_anything_is_harmless(pieces: list[str]) -> None:
    assert_harmless(cleaned("".join(pieces)))


def test_plain_html_stays_as_it_is() -> None:
    text = '<h1>A</h1><table><tbody><tr><td colspan="2">x &amp; y</td></tr></tbody></table>'
    assert cleaned(text) == text
    picture = '<img src="data:image/png;base64,AAAA" alt="a">'
    assert cleaned(picture) == picture
    assert cleaned('<a href="https://a.example">x</a>') == (
        '<a href="https://a.example" rel="noopener noreferrer nofollow">x</a>'
    )


@pytest.fixture
def component(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "own_drawings.py").write_text(
        "import numpy as np\n"
        "from PIL import Image\n"
        "def page(inputs, outputs, word='hi'):\n    return f'<h1>{word}</h1><script>x</script>'\n"
        "def chart(inputs, outputs):\n"
        "    data = {'values': [{'a': float(outputs['y'])}]}\n"
        "    return {'data': data, 'mark': 'bar', 'encoding': {'x': {'field': 'a'}}}\n"
        "def afar(inputs, outputs):\n    return {'data': {'url': 'file:///etc/passwd'}, 'mark': 'bar'}\n"
        "def picture(inputs, outputs):\n    return Image.new('RGBA', (9, 7), (1, 2, 3, 4))\n"
        "def array(inputs, outputs):\n    return np.zeros((7, 9, 3))\n"
        "def nothing(inputs, outputs):\n    return None\n"
        "def svg(inputs, outputs):\n    return '<svg onload=\"alert(1)\"/>'\n"
        "def bytes_(inputs, outputs):\n    return b'not a picture'\n"
        "def huge(inputs, outputs):\n    return 'x' * (5 << 20)\n"
        "def broken(inputs, outputs):\n    return outputs['gone']\n"
    )
    yield tmp_path
    sys.path.remove(str(tmp_path.resolve()))
    sys.modules.pop("own_drawings", None)


def own(component: Path, function: str, **options: Any) -> Drawn:
    step = {"code": f"own_drawings:{function}", "options": options}
    return draw(step, {}, {"y": np.array(3.0)}, CONFIG, folder=component)


def test_own_drawings_are_pictures_charts_or_clean_pages(component: Path) -> None:  # S2.7
    page = own(component, "page", word="<i>x</i>")
    assert b"<h1><i>x</i></h1>" in page.content and b"<script" not in page.content
    assert own(component, "chart").content_type == VEGA_LITE
    assert pixels_of(own(component, "chart", **{"as": "image/png"})).size
    assert pixels_of(own(component, "picture")).shape == (7, 9, 3)
    assert pixels_of(own(component, "array", **{"as": "image/png"})).shape == (7, 9, 3)


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        ("afar", {"as": "image/png"}, "names a place elsewhere"), ("afar", {}, "names a place elsewhere"),
        ("nothing", {}, "is no picture"), ("svg", {"as": SVG}, "it gave a text"), ("bytes_", {}, "no picture"),
        ("picture", {"as": SVG}, "Vega-Lite mapping only"), ("huge", {}, "at most"), ("broken", {}, "KeyError"),
    ],
)  # fmt: skip
def test_own_drawings_that_are_something_else_are_refused(
    component: Path, function: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ComponentUnfit) as refused:
        own(component, function, **options)
    assert words in refused.value.message, refused.value.message
    assert refused.value.field.startswith("visualise[")


@pytest.mark.parametrize(
    ("op", "outputs", "inputs", "options", "words"),
    [
        ("boxes", {"boxes": np.zeros((1, 4))}, {}, {}, "there is no picture among the inputs"),
        ("boxes", {}, {"img": IMG}, {}, "there is no value 'boxes'; there are img"),
        ("boxes", {"boxes": np.zeros((1, 5))}, {"img": IMG}, {}, "a box has 4 numbers"),
        ("boxes", {"boxes": np.zeros((2, 4)), "scores": np.zeros(3)}, {"img": IMG}, {}, "there are 2 boxes"),
        ("boxes", {"boxes": np.zeros((2, 4))}, {"img": IMG, "z": 1}, {"image": "z"}, "is no picture"),
        ("bar", {"t": np.array(["a"], object)}, {}, {}, "none of the outputs has numbers"),
        ("bar", {"p": np.zeros((0, 3))}, {}, {"of": "p"}, "p has"),
        ("confusion", {"p": np.zeros((2, 3))}, {}, {}, "a square"),
        ("histogram", {"p": np.array([np.nan])}, {}, {}, "no finite numbers"),
        ("table", {"deep": np.zeros((2, 2, 2))}, {}, {"of": "deep"}, "a table has two"),
        ("piechart", {}, {}, {}, "there is no drawing 'piechart'"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_told(
    op: str, outputs: dict[str, Any], inputs: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ComponentUnfit) as refused:
        drawn(op, outputs, inputs, **options)
    assert words in refused.value.message, refused.value.message
    assert refused.value.field == f"visualise[{op}]"


def test_drawings_are_bounded() -> None:
    with pytest.raises(AnswerTooLarge):
        Drawn("image/png", b"x" * ((16 << 20) + 1))
