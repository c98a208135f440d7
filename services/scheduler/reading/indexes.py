"""Elements of an array in words: "0-4,7". Pure."""

from collections.abc import Sequence


def parse(text: str) -> list[int]:
    """The indexes that a text, which was found to be right, names."""
    found: list[int] = []
    for word in text.split(","):
        first, _, last = word.strip().partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def write(indexes: Sequence[int]) -> str:
    """Ascending indexes as short as can be."""
    runs: list[list[int]] = []
    for index in indexes:
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
