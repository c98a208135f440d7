"""When a container counts as ready. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.documents.section import Section
from modelyard.training.imports.source import dropped, inner, rest, text_of

_TIMES = ("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold",
          "terminationGracePeriodSeconds")  # fmt: skip
_STEP = "roles.<role>.ready: {until: log, pattern: …} or {until: file, path: …}"


def readiness(container: Section, ports: Mapping[str, int], is_alone: bool) -> dict[str, Any]:
    """The role's `ready`; empty: its processes run. `is_alone`: the role has one instance, which has its very port."""
    for name in ("readinessProbe", "startupProbe"):
        if name in container:
            found = _probe(container, name, ports, is_alone)
            if name == "readinessProbe" and "startupProbe" in container:
                container.node_of("startupProbe")
            return found
    return {}


def _probe(container: Section, name: str, ports: Mapping[str, int], is_alone: bool) -> dict[str, Any]:
    probe = inner(container, name)
    kinds = [kind for kind in ("tcpSocket", "httpGet") if kind in probe]
    if not kinds:
        dropped(container, name, "a probe that runs a command is left out", _STEP)
        return {}
    section = inner(probe, kinds[0])
    port = _port(text_of(section.node_of("port")), ports)
    if not port:
        dropped(container, name, "it names a port that the container does not", "add it to ports")
        return {}
    if not is_alone:
        message = (
            "several instances may share a machine, so each has another port, which the program does not know"
        )
        dropped(
            container,
            name,
            message,
            f"listen on YARD_PORT_{port.upper()}, then ready: {{until: listening, port: {port}}}",
        )
        return {}
    path = section.text("path", "/")
    rest(section, quiet=("scheme", "host", "httpHeaders"))
    rest(probe, quiet=_TIMES)
    if kinds[0] == "tcpSocket":
        return {"until": "listening", "port": port}
    return {"until": "http", "port": port, "path": path.replace("${", "$${")}


def _port(word: str, ports: Mapping[str, int]) -> str:
    """The name of one, by name or number."""
    if word in ports:
        return word
    return next((name for name, number in ports.items() if str(number) == word), "")
