"""Levels of a run on a terminal."""

from cli.output.levels import SYMBOLS, level_lines
from services.graph.canvases.picture import STATES


def test_level_has_a_symbol_for_each_node_in_its_order() -> None:
    nodes = [(0, 0, "a", "computed"), (1, 2, "c", "waiting"), (1, 1, "b", "running")]
    assert level_lines(nodes) == ["    0     1/1     ✓", "    1     0/2     ▶○  b"]


def test_wide_level_is_counted() -> None:
    nodes = [(0, n, f"n{n}", "computed" if n < 990 else "failed") for n in range(1_000)]
    [line] = level_lines(nodes, width=60)
    assert "✓ 990  ✗ 10" in line
    assert len(line) <= 60


def test_of_many_levels_those_are_shown_where_something_happens() -> None:
    nodes = [(n, n, f"n{n}", "computed" if n < 500 else "waiting") for n in range(1_000)]
    lines = level_lines(nodes, height=10)
    assert len(lines) == 10
    assert lines[0].split()[0] == "498"
    assert lines[-1].strip() == "… 991 more levels"


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in level_lines([(0, 0, "\x1b[2J", "running")])[0]


def test_symbols_are_those_of_the_picture() -> None:
    assert {name: state.symbol for name, state in STATES.items() if name != "planned"} == SYMBOLS
