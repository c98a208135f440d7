"""A file goes from node to node of one machine without a copy, as the figures say (`bench/handover.py`)."""

from __future__ import annotations

from bench import handover

MIB = 16


def test_next_nodes_of_the_machine_get_the_file_itself() -> None:  # S1.5
    figures = {figure.name.partition(": ")[2]: figure for figure in handover.measure(MIB)}
    assert figures["copies that the next nodes got"].runs == (0,)
    assert len(figures["written → read by the next node"].runs) == 2, "on the same agent, and on another"
    (written_gib,) = figures["written by all processes"].runs
    assert written_gib * 1024 >= MIB, "the file was written"
