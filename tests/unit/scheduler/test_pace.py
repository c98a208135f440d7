"""Beats stretch with the fleet, and leases with the beats."""

from services.scheduler.nodes import pace


def test_beat_up_to_a_thousand_nodes_is_two_seconds() -> None:
    assert {pace.beat_ms(nodes) for nodes in (0, 1, 1_000)} == {2_000}


def test_beat_of_ten_thousand_nodes_keeps_the_fleet_at_five_hundred_a_second() -> None:
    assert 10_000 / (pace.beat_ms(10_000) / 1000) == pace.BEATS_PER_S


def test_lease_always_outlasts_the_silence_that_makes_a_node_suspect() -> None:
    assert all(pace.lease_ms(nodes) > pace.suspect_ms(nodes) for nodes in (0, 1, 1_000, 10_000, 100_000))
