"""No framework's name stands in the code of the controller or of the language (S3.2)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NAMES = re.compile(
    r"pytorch|torch|tensorflow|\btf_|jax|xgboost|rabit|lightgbm|\bdask|\bray\b|\bmpi|horovod|deepspeed|accelerate|paddle|"
    r"ddp|nccl|gloo",
    re.IGNORECASE,
)
SOURCES = [*ROOT.glob("services/trainer/**/*.py"), *ROOT.glob("modelyard/training/**/*.py")]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_source_of_the_controller_names_no_framework(source: Path) -> None:
    # S3.2, G1
    found = [line for line in source.read_text().splitlines() if NAMES.search(line)]
    assert not found, f"{source.name} names a framework: {found}"


def test_sources_are_there() -> None:
    assert len(SOURCES) > 20
