"""Gradients and both total orders on small graphs that can be checked by eye."""

import pytest

from services.graph.canvases.levels import branch_order, find_cycle, gradients, level_order, total_order
from services.graph.model import CycleFound, Order


def test_gradient_of_a_node_is_one_more_than_its_deepest_predecessor() -> None:  # S1.1
    # 0 → 1 → 3, 0 → 2, 2 → 3, 0 → 3
    assert gradients([[1, 2, 3], [3], [3], []]) == [0, 1, 1, 2]


def test_level_order_within_a_level_goes_by_key_not_by_index() -> None:  # S1.9
    assert level_order([0, 1, 1, 2], [(5,), (9,), (2,), (1,)]) == [0, 2, 1, 3]


def test_branch_order_ends_the_first_branch_before_the_next() -> None:  # S1.9
    #     ┌ 1 ─ 2 ┐
    # 0 ──┤       ├ 5
    #     └ 3 ─ 4 ┘
    successors = [[1, 3], [2], [5], [4], [5], []]
    assert branch_order(successors, [0, 1, 4, 2, 3, 5]) == [0, 1, 2, 3, 4, 5]
    assert branch_order(successors, [0, 2, 4, 1, 3, 5]) == [0, 3, 4, 1, 2, 5]


def test_levels_and_branches_differ_where_branches_are_long() -> None:  # S1.9
    successors = [[1, 3], [2], [], [4], []]
    keys = [0, 1, 2, 3, 4]
    assert total_order(Order.LEVELS, gradients(successors), successors, keys) == [0, 1, 3, 2, 4]
    assert total_order(Order.BRANCHES, gradients(successors), successors, keys) == [0, 1, 2, 3, 4]


def test_order_of_a_cycle_names_its_nodes() -> None:
    successors = [[1], [2], [3], [1], [0]]
    for refused in (lambda: gradients(successors), lambda: branch_order(successors, range(5))):
        with pytest.raises(CycleFound) as caught:
            refused()
        assert caught.value.nodes == [1, 2, 3]


def test_cycle_of_one_node_is_found() -> None:
    assert find_cycle([[], [1]]) == [1]
    assert find_cycle([[1], []]) == []


def test_long_chain_needs_no_recursion() -> None:
    count = 100_000
    chain = [[i + 1] for i in range(count - 1)] + [[]]
    assert gradients(chain)[-1] == count - 1
    assert branch_order(chain, range(count, 0, -1)) == list(range(count))
    assert find_cycle([*chain[:-1], [0]]) == list(range(count))
