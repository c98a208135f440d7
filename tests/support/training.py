"""Jobs and definitions for tests of training: short to write, rendered at fixed addresses."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from modelyard.training import Address, Changes, Framework, Identity, Plan, Problem, Refused, plan_job
from modelyard.training.frameworks import catalogue
from modelyard.training.frameworks.definition import compile_framework
from modelyard.training.rendering.launches import Launch

GOLDEN = Path(__file__).parents[1] / "golden" / "training"
WHO = Identity(id="j-7", secret="hush")


def planned(text: str, *frameworks: Framework, changes: Changes | None = None) -> Plan:
    own = {framework.id: framework for framework in frameworks}
    return plan_job(
        dedent(text),
        lambda name, version: own.get(name) or catalogue.find(name, version),
        catalogue.known(),
        changes,
    )


def framework(text: str) -> Framework:
    return compile_framework(dedent(text))


def refused(text: str, *frameworks: Framework, changes: Changes | None = None) -> tuple[Problem, ...]:
    with pytest.raises(Refused) as caught:
        planned(text, *frameworks, changes=changes)
    return caught.value.problems


def refused_framework(text: str) -> tuple[Problem, ...]:
    with pytest.raises(Refused) as caught:
        framework(text)
    return caught.value.problems


def places(plan: Plan) -> dict[tuple[str, int], Address]:
    """Instance i of the k-th role: host-ki, 10.0.k.i, ports 10000 + 1000 k + 100 i + …"""
    found = {}
    for number, role in enumerate(plan.roles):
        for index in range(role.count):
            base = 10_000 + 1_000 * number + 100 * index
            found[role.name, index] = Address(
                host=f"host-{number}{index}", ip=f"10.0.{number}.{index}", directory=f"/d/{role.name}-{index}",
                ports={port.name: (port.low or base) + more for more, port in enumerate(role.role.address())},
            )  # fmt: skip
    return found


def launched(plan: Plan, role: str, index: int = 0) -> Launch:
    return plan.launch(plan.surroundings(WHO, places(plan)), role, index)


def said(plan: Plan, role: str, index: int = 0, process: int = 0) -> dict[str, str]:
    """Variables, without those that every framework's instances get."""
    env = launched(plan, role, index).processes[process].env
    return {name: value for name, value in env.items() if not name.startswith("YARD_")}


def golden_job(name: str) -> str:
    return (GOLDEN / f"{name}.job.yaml").read_text()
