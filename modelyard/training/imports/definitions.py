"""Frameworks that an import brings along, for sources whose roles are their own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.documents.section import Section
from modelyard.training.imports.drafts import without_empty
from modelyard.training.imports.source import changed


def definition(
    framework_id: str, summary: str, roles: Mapping[str, dict[str, Any]], *, succeeded: str = "", failed: str = "",
    ranks: list[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A `kind: Framework`; what is not said is as the language has it."""
    status = {name: word for name, word in (("succeeded", succeeded), ("failed", failed)) if word}
    fields = {"kind": "Framework", "id": framework_id, "summary": summary, "ranks": ranks or [], "roles": dict(roles),
              "job_status": status}  # fmt: skip
    return without_empty(fields)


def role(count: int, ports: Mapping[str, Any], **functions: Any) -> dict[str, Any]:
    """One role of a definition."""
    return without_empty(
        {
            "count": {"default": count},
            "service": {"ports": dict(ports)} if ports else {},
            "functions": without_empty(functions),
        }
    )


def leased(ports: Mapping[str, int], count: int, container: Section) -> dict[str, Any]:
    """The very port of a role's one instance; several share machines, so each gets a free one, and that is told."""
    if count == 1:
        return dict(ports)
    if ports:
        words = ", ".join(f"{number} as YARD_PORT_{name.upper()}" for name, number in ports.items())
        message = f"several instances may share a machine, so each gets a free port instead: of {words}"
        changed(container, "ports", message, "listen there, or placement: {distinct_nodes: true}")
    return dict.fromkeys(ports, "auto")
