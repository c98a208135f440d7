"""Frameworks that are there without anybody registering them: shipped with the suite, or offered by a package.

Plug-ins stand in the entry point group `modelyard.frameworks`: a `Framework`, or a function without arguments that
makes one.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from typing import Any

from modelyard.documents.problems import Findings, Kind, Position, Problem, Reason, Refused, shown
from modelyard.training.frameworks.consistency import check_framework
from modelyard.training.frameworks.definition import compile_framework
from modelyard.training.frameworks.framework import Framework

GROUP = "modelyard.frameworks"


@cache
def shipped() -> dict[str, Framework]:
    """By id. Read once a process."""
    folder = files("modelyard.training") / "shipped"
    texts = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    found = [compile_framework((folder / name).read_text()) for name in texts]
    return {framework.id: framework for framework in found}


def plugins() -> tuple[dict[str, Framework], tuple[Problem, ...]]:
    """By id, and what is wrong with those that cannot be used. Imports the packages that offer them."""
    found: dict[str, Framework] = {}
    findings = Findings(Kind.FRAMEWORK)
    for point in entry_points(group=GROUP):
        try:
            framework = loaded(point)
        except Refused as refused:
            findings.extend(refused.problems)
        else:
            found[framework.id] = framework
    return found, findings.all()


def loaded(point: Any) -> Framework:
    """What an entry point offers. Raises `Refused`."""
    at = Position(f"{GROUP}:{point.name}")
    findings = Findings(Kind.FRAMEWORK)
    try:
        found = point.load()
        found = found() if callable(found) and not isinstance(found, Framework) else found
    # Whatever a plug-in raises when it is imported is its problem, and must not become everybody's.
    except Exception as error:
        message = f"it cannot be loaded: {type(error).__name__}: {shown(str(error), 300)}"
        findings.add(Reason.PLUGIN_FAILED, message, at)
        raise Refused(findings.all()) from error
    if not isinstance(found, Framework):
        message = f"it is a {type(found).__name__}, and should be a modelyard.training.Framework"
        findings.add(Reason.PLUGIN_FAILED, message, at)
    else:
        check_framework(found, findings, {})
    findings.refuse()
    assert isinstance(found, Framework)
    return found


def find(framework_id: str, version: int = 0) -> Framework | None:
    """One that is there without a service; plug-ins are asked after what is shipped. Versions are a service's."""
    if version:
        return None
    return shipped().get(framework_id) or plugins()[0].get(framework_id)


def known() -> tuple[str, ...]:
    """Ids of all of them."""
    return tuple(sorted({*shipped(), *plugins()[0]}))
