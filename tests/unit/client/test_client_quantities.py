"""Sizes and times as people write them."""

from __future__ import annotations

import pytest

from modelyard.quantities import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("512", 512), ("512Mi", 512 << 20), ("1.5G", 1_500_000_000), ("2GiB", 2 << 30), ("1kb", 1000)],
)
def test_size_is_parsed_to_bytes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "x", "1x", "-1", "1 2", "i", "1ib"])
def test_size_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="512Mi"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5s", 1.5), ("10m", 600), ("1h30m", 5400), ("250ms", 0.25), ("2d", 172800)],
)
def test_duration_is_parsed_to_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10x", "1h 30m", "-5s"])
def test_duration_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="10m"):
        parse_duration(text)


def test_sizes_and_durations_are_shown_short() -> None:
    assert [format_size(size) for size in (0, 1023, 1536, 3 << 40)] == ["0 B", "1023 B", "1.5 KiB", "3.0 TiB"]
    shown = [format_duration(seconds) for seconds in (0.04, 42, 190, 7500, 260_000)]
    assert shown == ["0.0s", "42s", "3m10s", "2h05m", "3d"]
