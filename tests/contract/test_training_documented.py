"""Examples of docs/training.md are read and rendered as a user would; what the page shows of them is what comes out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.output.training import instance_text
from modelyard.training import Framework, plan_job
from modelyard.training.frameworks import catalogue
from modelyard.training.plans.preview import previews
from modelyard.training.policies.readiness import ReadinessKind
from modelyard.training.policies.restarts import Cause
from modelyard.training.sweeps import plan_text
from modelyard.training_messages import instance_message

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
JOBS = [text for kind, text in BLOCKS if kind == "yaml"]


def rendered(text: str) -> str:
    plan = plan_text(text, catalogue.find, catalogue.known())
    return "\n".join(instance_text(instance_message(each)) for each in previews(plan))


@pytest.mark.parametrize("text", JOBS)
def test_example_is_rendered(text: str) -> None:
    # S3.12
    assert "process  " in rendered(text)


def test_what_the_page_shows_is_what_comes_out() -> None:
    shown = [(BLOCKS[number - 1][1], text) for number, (kind, text) in enumerate(BLOCKS) if kind == "text"]
    assert shown
    for job, output in shown:
        assert rendered(job) == output


def test_plugin_of_the_page_makes_a_framework() -> None:
    # S3.2
    (source,) = [text for kind, text in BLOCKS if kind == "python" and "readers" in text]
    made: dict[str, object] = {}
    exec(compile(source, "training.md", "exec"), made)
    readers = made["readers"]
    assert isinstance(readers, Framework)
    plan = plan_job("{kind: Job, framework: readers, name: r}", lambda name, version: readers)
    assert [each.launch.processes[0].argv[:2] for each in previews(plan)] == [
        ("read", "0"), ("read", "1"), ("read", "2"),
    ]  # fmt: skip


def test_report_of_the_page_runs_outside_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YARD_REPORT_URL", raising=False)
    (source,) = [text for kind, text in BLOCKS if kind == "python" and "import report" in text]
    made: dict[str, object] = {}
    exec(compile(source, "training.md", "exec"), made)
    assert made["step"] == 100


def test_page_names_every_shipped_framework_kind_of_readiness_and_cause() -> None:
    words = set(re.findall(r"[a-z_0-9-]+", PAGE))
    assert set(catalogue.shipped()) <= words
    assert {kind.value for kind in ReadinessKind} <= words
    assert {cause.value for cause in Cause} - {"success", "stopped"} <= words
