"""Every shipped framework rendered: the exact commands, variables and files, as `yard train render` shows them.

WRITE_GOLDEN=1 writes the files anew; read the difference before it is kept.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.output.training import instance_text
from modelyard.training import plan_job
from modelyard.training.frameworks import catalogue
from modelyard.training.plans.preview import previews
from modelyard.training_messages import instance_message

GOLDEN = Path(__file__).parents[2] / "golden" / "training"


def rendered(framework: str) -> str:
    plan = plan_job((GOLDEN / f"{framework}.job.yaml").read_text(), catalogue.find, catalogue.known())
    return "\n".join(instance_text(instance_message(each)) for each in previews(plan))


@pytest.mark.parametrize("framework", catalogue.shipped())
def test_shipped_framework_rendered_gives_its_golden_file(framework: str) -> None:
    # S3.2, S3.12, G1, N1
    golden, found = GOLDEN / f"{framework}.txt", rendered(framework)
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(found)
    assert found == golden.read_text()


@pytest.mark.parametrize("framework", catalogue.shipped())
def test_shipped_framework_rendered_again_gives_the_same(framework: str) -> None:
    # S3.12
    assert rendered(framework) == rendered(framework)


def test_golden_files_belong_to_shipped_frameworks() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(catalogue.shipped())
