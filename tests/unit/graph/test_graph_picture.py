"""Pictures of graphs and runs: well formed whatever the labels are, the same each time, readable without colour."""

import xml.etree.ElementTree as ET

import pytest

from services.graph.canvases.picture import LANES_IN_BAND, ROWS_MOST, STATES, PictureNode, draw

SVG = "{http://www.w3.org/2000/svg}"


def _texts(picture: str) -> list[str]:
    return ["".join(each.itertext()) for each in ET.fromstring(picture).iter(f"{SVG}text")]


def _node(number: int, gradient: int = 0, **fields: object) -> PictureNode:
    return PictureNode(f"n{number}", gradient, number, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("detail", STATES)
def test_state_is_told_by_symbol_and_word(detail: str) -> None:
    texts = _texts(draw("p", [_node(1, detail=detail)]))
    assert any(text == f"{STATES[detail].symbol} n1" for text in texts)
    assert STATES[detail].word in texts


def test_symbols_and_words_differ() -> None:
    assert len({state.symbol for state in STATES.values()}) == len(STATES)
    assert len({state.word for state in STATES.values()}) == len(STATES)


def test_picture_has_lanes_nodes_edges_and_progress() -> None:
    nodes = [
        _node(0, label="load", detail="computed"),
        _node(1, 1, detail="running", progress=0.25, inputs=("n0",)),
    ]
    picture = draw("sample v3", nodes, "run r-1")
    texts = _texts(picture)
    assert {"sample v3", "run r-1", "level 0", "level 1", "✓ load", "running 25%"} <= set(texts)
    assert "2 nodes: ▶ 1 running, ✓ 1 done" in texts
    assert len(list(ET.fromstring(picture).iter(f"{SVG}path"))) == 1


HOSTILE = [
    '<script>alert("x")</script>',
    "]]>&lt;",
    "\x00\x1b[31m",
    "\ud800",
    "\u202egnp.exe",
    "é" * 100_000,
    '" onload="x',
]


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_text_is_only_text(label: str) -> None:
    picture = draw(label, [PictureNode(label, 0, 0, label, "failed", None, label, (label,))], label)
    root = ET.fromstring(picture.encode())
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg",
        "title",
        "desc",
        "rect",
        "g",
        "path",
        "text",
    }
    assert not any(name.startswith("on") for element in root.iter() for name in element.attrib)
    assert "\u202e" not in picture
    assert len(picture) < 20_000


def test_a_thousand_nodes_fold_and_what_matters_stays_in_sight() -> None:
    nodes = [_node(n, 1, inputs=("root",), detail="computed") for n in range(1_000)]
    nodes[777] = _node(777, 1, inputs=("root",), detail="failed")
    picture = draw("wide", [PictureNode("root", 0, -1), *nodes])
    texts = _texts(picture)
    assert "✗ n777" in texts
    assert f"… {1_000 - ROWS_MOST + 1} more nodes" in texts
    assert len(picture) < 100_000


def test_a_long_chain_is_drawn_in_bands() -> None:
    nodes = [_node(n, n, inputs=(f"n{n - 1}",)) for n in range(1_000)]
    root = ET.fromstring(draw("long", nodes))
    assert float(root.attrib["width"]) < 250 * (LANES_IN_BAND + 1)
    bands = -(-1_000 // LANES_IN_BAND)
    # An edge to another band is drawn as its two ends, not across everything between.
    assert len(list(root.iter(f"{SVG}path"))) == 999 + bands - 1


def test_operator_stands_beside_the_state_and_the_bar_tells_what_went_wrong() -> None:
    nodes = [_node(0, detail="computed", work="text.join"), _node(1, detail="failed", work="x" * 500)]
    root = ET.fromstring(draw("p", nodes))
    assert "text.join" in _texts(ET.tostring(root, encoding="unicode"))
    widths = {
        each.attrib["fill"]: float(each.attrib["width"])
        for each in root.iter(f"{SVG}rect")
        if "rx" in each.attrib
    }
    assert widths["#15803d"] == widths["#b91c1c"] == widths["#e5e7eb"] / 2


def test_a_chain_of_fifty_thousand_fits_into_a_message() -> None:
    nodes = [_node(n, n, inputs=(f"n{n - 1}",)) for n in range(50_000)]
    picture = draw("endless", nodes)
    assert len(picture) < 3_000_000
    assert "levels 0 to 49" in _texts(picture)


def test_same_values_in_any_order_give_the_same_bytes() -> None:
    nodes = [_node(n, n % 7, inputs=(f"n{n - 1}", f"n{n - 3}")) for n in range(200)]
    assert draw("p", nodes) == draw("p", list(reversed(nodes)))


def test_empty_graph_is_a_picture() -> None:
    assert "no nodes" in _texts(draw("nothing", []))


def test_strange_progress_and_states_are_drawn() -> None:
    nodes = [_node(n, detail="running", progress=value) for n, value in enumerate((float("nan"), -1.0, 7.0))]
    assert ET.fromstring(draw("p", [*nodes, _node(9, detail="no such word")])) is not None
