"""No framework's name stands in the code of the controller or of the language (S3.2).

What reads other controllers' files names their kinds; it comes to job files and nothing else.
"""

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
IMPORTS = ROOT / "modelyard" / "training" / "imports"
SOURCES = [
    path
    for folder in ("services/trainer", "modelyard/training")
    for path in ROOT.glob(f"{folder}/**/*.py")
    if IMPORTS not in path.parents
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_source_of_the_controller_names_no_framework(source: Path) -> None:
    # S3.2, G1
    found = [line for line in source.read_text().splitlines() if NAMES.search(line)]
    assert not found, f"{source.name} names a framework: {found}"


def test_sources_are_there() -> None:
    assert len(SOURCES) > 20
