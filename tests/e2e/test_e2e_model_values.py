"""Business data in, business data out, on a real yard: pictures and rows, steps and drawings (S2.2, S2.5, S2.7)."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support.receiver import mailbox
from tests.support.yard import Result, Yard, new_yard

PICTURES = """
import numpy as np

class Colours:
    def predict(self, x: np.ndarray) -> np.ndarray:
        return x.mean(axis=(2, 3)).astype(np.float32)
"""
PICTURES_CONFIG = """
name: colours
component:
  file: colours.py
  inputs: [{name: x, datatype: FP32, shape: [-1, 3, 16, 16]}]
  outputs: [{name: result, datatype: FP32, shape: [-1, 3]}]
pre: [{op: resize, size: [16, 16]}, {op: scale, factor: 0.02}, {op: layout, from: hwc, into: chw}]
post:
  - {op: softmax, on: result, to: chances}
  - {op: top_k, on: chances, k: 1, labels: [red, green, blue]}
visualise:
  [{op: heatmap, of: result}, {op: table, of: [chances_label, chances]}, {code: "pages:page"}, {code: "pages:broken"}]
"""
PAGES = """
def page(inputs, outputs):
    return f"<b>{outputs['chances_label'][0][0]}</b><script>x</script>"

def broken(inputs, outputs):
    raise ValueError("nothing to draw")
"""
ROWS = """
import numpy as np

class Sum:
    def predict(self, x: np.ndarray) -> np.ndarray:
        return x.sum(axis=1)
"""
ROWS_CONFIG = """
name: sums
inputs: [{name: x, datatype: FP64, shape: [-1, 2], columns: [width, height]}]
outputs: [{name: result, datatype: FP64, shape: [-1]}]
post: [{op: threshold, on: result, above: 10, to: is_large}]
"""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    """One node, and a model for pictures and one for rows."""
    with new_yard(is_up=False, agents=1) as made:
        up = made.up("--models", "--notify-allow", "127.0.0.0/8")
        assert up.code == 0, f"{up.stderr}\n{made.logs()}"
        for name, code, config in (("colours", PICTURES, PICTURES_CONFIG), ("sums", ROWS, ROWS_CONFIG)):
            folder = made.state / name
            folder.mkdir()
            (folder / f"{name}.py").write_text(code)
            (made.state / f"{name}.yaml").write_text(config)
            if name == "colours":
                (folder / "pages.py").write_text(PAGES)
            pushed = made.cli("model", "push", str(folder), "--config", f"{name}.yaml", timeout_s=200)
            assert pushed.code == 0, f"{pushed.stderr}\n{made.logs()}"
        yield made
        made.cli("down")


def called(yard: Yard, *words: str, stdin: str = "") -> Result:
    return yard.cli("model", "call", *words, stdin=stdin, timeout_s=150)


def test_picture_is_answered_with_its_label_and_drawings(yard: Yard) -> None:  # S2.2, S2.5, S2.7
    Image.new("RGB", (90, 60), (10, 250, 10)).save(yard.state / "green.jpg")
    done = called(
        yard, "colours", "--input", "x=@green.jpg", "--param", "visualise=all", "--save", "out", "-o", "json"
    )
    assert done.code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["chances_label"] == [["green"]] and answer["chances_index"] == [[1]]
    with Image.open(io.BytesIO((yard.state / "out" / "heatmap.png").read_bytes())) as drawn:
        assert drawn.size == (90, 60)
    page = (yard.state / "out" / "page.html").read_text()
    assert "<b>green</b>" in page and "<script" not in page
    assert "<td>green</td>" in (yard.state / "out" / "table.html").read_text()
    assert "warning: a drawing failed, the values are right: broken: nothing to draw" in done.stderr


def test_picture_that_is_none_is_refused_by_the_frame(yard: Yard) -> None:
    (yard.state / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    done = called(yard, "colours", "--input", "@broken.png")
    assert done.code == 7
    assert "no picture" in done.stderr and "inputs[x]" in done.stderr


def test_rows_are_answered_by_their_columns(yard: Yard) -> None:  # S2.5
    (yard.state / "rows.csv").write_text("id,height,width\na,1,2\nb,30,4.5\n")
    done = called(yard, "sums", "--input", "x=@rows.csv")
    assert done.code == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["result", "is_large"],
        ["3", "False"],
        ["34.5", "True"],
    ]
    again = called(yard, "sums", "--input", "x=@-", "-o", "json", stdin='[{"height": 1, "width": 2}]')
    assert json.loads(again.stdout) == {"result": [3.0], "is_large": [False]}


def test_rows_that_do_not_fit_are_refused_before_they_are_sent(yard: Yard) -> None:
    (yard.state / "rows.csv").write_text("height,length\n1,2\n")
    done = called(yard, "sums", "--input", "x=@rows.csv")
    assert (done.code, "the column width is missing; there are height, length" in done.stderr) == (7, True), (
        done.stderr
    )
    (yard.state / "rows.csv").write_text("height,width\n1,2\n1,wide\n")
    done = called(yard, "sums", "--input", "x=@rows.csv")
    assert "row 3, column width: 'wide' is no number" in done.stderr


def test_new_code_with_a_step_that_does_not_exist_is_refused_with_its_line(
    yard: Yard, tmp_path: Path
) -> None:
    (tmp_path / "m.yaml").write_text("name: other\npre:\n  - {op: resise, size: [1, 1]}\n")
    done = yard.cli("model", "push", str(yard.state / "sums"), "--config", str(tmp_path / "m.yaml"))
    assert done.code == 7
    assert "3:10 pre[0].op" in done.stderr and "did you mean 'resize'" in done.stderr


def test_result_with_its_drawing_goes_to_a_contact(yard: Yard) -> None:  # S2.7, S0.8
    """By mail, with the picture beside it; the caller gets its values, and what it did not ask for stays away."""
    asyncio.run(_told_by_mail(yard))


async def _told_by_mail(yard: Yard) -> None:
    def cli(*words: str) -> Result:
        done = yard.cli(*words, timeout_s=150)
        assert done.code == 0, done.stderr
        return done

    image = ["colours", "--input", "x=@blue.png"]
    Image.new("RGB", (90, 60), (10, 10, 250)).save(yard.state / "blue.png")
    async with mailbox() as mail:
        await asyncio.to_thread(cli, "contacts", "add", "mail", mail.url)
        unverified = await asyncio.to_thread(called, yard, *image, "--contact", "mail")
        assert unverified.code == 6 and "yard contacts test mail" in unverified.stderr
        unknown = await asyncio.to_thread(called, yard, *image, "--contact", "nobody")
        assert unknown.code == 3 and "no contact 'nobody'" in unknown.stderr
        await asyncio.to_thread(cli, "contacts", "test", "mail")
        answer = await asyncio.to_thread(cli, "model", "call", *image, "--contact", "mail", "-o", "json")
        assert not [name for name in json.loads(answer.stdout) if name.startswith("viz:")]
        assert "warning: a drawing failed, the values are right: broken: " in answer.stderr
        subject = answer.stderr.rsplit(" ", 1)[-1].strip()
        said = (await mail.wait(2))[1]
        listed = await asyncio.to_thread(yard.json, "contacts", "deliveries", "--subject", subject)
        assert [one["contact"] for one in listed["deliveries"]] == ["mail"]
        files = {
            part.get_filename(): part.get_payload(decode=True) for part in said.walk() if part.get_filename()
        }
        assert Image.open(io.BytesIO(files["heatmap.png"])).size
        text = "".join(
            str(part.get_payload()) for part in said.walk() if part.get_content_type() == "text/plain"
        )
        assert "chances_label: blue" in text, text
        assert "drawing failed: broken: nothing to draw" in text
        await asyncio.to_thread(cli, "contacts", "rm", "mail", "--yes")
