"""Outputs and checkpoints of training jobs in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.output.nouns import age
from modelyard.quantities import format_size

if TYPE_CHECKING:
    from cli.output.render import Columns

OUTPUT_COLUMNS: Columns = [
    ("NAME", lambda one: one.name),
    ("SIZE", lambda one: format_size(one.size_bytes)),
    ("DIGEST", lambda one: one.digest),
]

CHECKPOINT_COLUMNS: Columns = [
    ("INSTANCE", lambda one: f"{one.role}-{one.index}"),
    ("NAME", lambda one: one.name),
    ("STEP", lambda one: str(one.step) if one.HasField("step") else ""),
    ("METRIC", lambda one: f"{one.metric:.4g}" if one.HasField("metric") else ""),
    ("SIZE", lambda one: format_size(one.size_bytes)),
    ("AGE", lambda one: age(one.time)),
    ("STORED", lambda one: "yes" if one.is_stored else ""),
    ("USED BY", lambda one: ",".join(one.resumed_by)),
]
