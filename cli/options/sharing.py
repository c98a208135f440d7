"""The words of weights and quotas, the same for `yard queues` and `yard quotas`. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from cli.errors import UsageError
from cli.options.work_values import pairs
from modelyard.client.sharing import ModelQuotaChanges, QuotaChanges
from modelyard.quantities import parse_size

NOTHING = "none"

Weight = Annotated[
    float | None, typer.Option(help="Its share beside the others, for example 2", show_default=False)
]
Limit = Annotated[
    list[str],
    typer.Option(help="Never more than this: cpu=8, memory=64Gi, gpu=2; repeatable, all anew; none: no limits",
                 show_default=False),
]  # fmt: skip
Guarantee = Annotated[
    list[str],
    typer.Option(help="Up to this it goes before those who hold more than theirs; none; repeatable",
                 show_default=False),
]  # fmt: skip
MaxRunning = Annotated[
    int | None, typer.Option(min=0, help="Tasks on nodes at a time; 0: no limit", show_default=False)
]
MaxUnfinished = Annotated[
    int | None, typer.Option(min=0, help="Unfinished tasks; 0: no limit", show_default=False)
]

MaxVersions = Annotated[
    int | None, typer.Option(min=0, help="Versions of models; 0: no limit", show_default=False)
]
MaxComponentBytes = Annotated[
    str,
    typer.Option(
        help="Of its models' components together, for example 40Gi; 0: no limit", show_default=False
    ),
]
MaxCalls = Annotated[
    int | None,
    typer.Option(min=0, help="Calls of models under way at a time; 0: no limit", show_default=False),
]


def model_changes_of(
    max_versions: int | None, max_component_bytes: str, max_calls: int | None
) -> ModelQuotaChanges:
    """What the flags of models name, and nothing else. Raises UsageError."""
    changes: ModelQuotaChanges = {}
    if max_versions is not None:
        changes["max_versions"] = max_versions
    if max_component_bytes:
        try:
            changes["max_component_bytes"] = int(parse_size(max_component_bytes))
        except ValueError as error:
            raise UsageError(f"--max-component-bytes: {error}") from error
    if max_calls is not None:
        changes["max_calls"] = max_calls
    return changes


def changes_of(
    weight: float | None,
    limit: Sequence[str],
    guarantee: Sequence[str],
    max_running: int | None,
    max_unfinished: int | None,
) -> QuotaChanges:
    """What the flags name, and nothing else. Raises UsageError."""
    changes: QuotaChanges = {}
    if weight is not None:
        changes["weight"] = weight
    if limit:
        changes["limit"] = _amounts(limit, "--limit")
    if guarantee:
        changes["guaranteed"] = _amounts(guarantee, "--guarantee")
    if max_running is not None:
        changes["max_running"] = max_running
    if max_unfinished is not None:
        changes["max_unfinished"] = max_unfinished
    return changes


def _amounts(words: Sequence[str], flag: str) -> dict[str, float | str]:
    if list(words) == [NOTHING]:
        return {}
    found: dict[str, float | str] = {}
    for name, amount in pairs(words, flag).items():
        try:
            found[name] = amount if name == "memory" else float(amount)
        except ValueError as error:
            raise UsageError(f"{flag} {name}={amount}: {amount!r} is not a number") from error
    return found
