"""Ports of a container: their names, who means them, and what becomes of them. Pure."""

from __future__ import annotations

import re

from modelyard.documents.section import Section
from modelyard.training.imports.source import changed, dropped, listed, rest

_PORT_NAME = re.compile(r"[^a-z0-9]+")


def ports_of(container: Section) -> dict[str, int]:
    """Numbers by name; a name is one of the language's."""
    found: dict[str, int] = {}
    for section in listed(container, "ports", 30):
        number = section.integer("containerPort", 0, 1, 65_535)
        name = _PORT_NAME.sub("_", section.word("name").lower()).strip("_")
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or len(name) > 40:
            name = f"p{number}"
        if number:
            found[name] = number
        rest(section, quiet=("protocol", "hostPort", "hostIP"))
    return found


def paired(env: dict[str, str], ports: dict[str, int], role: str) -> dict[str, str]:
    """X_PORT beside an X_ADDR that is an instance of the same role: the port that this instance has."""
    names = {str(number): name for name, number in ports.items()}
    found = dict(env)
    for variable, value in env.items():
        beginning, is_port, _ = variable.partition("_PORT")
        if not is_port or value not in names or not role:
            continue
        for ending in ("_ADDR", "_ADDRESS", "_HOST", "_IP"):
            instance = re.fullmatch(
                rf"\$\{{(roles\.{role}\[[0-9]+\])\.host\}}", env.get(f"{beginning}{ending}", "")
            )
            if instance:
                found[variable] = f"${{{instance[1]}.port.{names[value]}}}"
    return found


def tell_framework(container: Section, ports: dict[str, int]) -> None:
    """Tells of ports and probes of a pod whose framework has its own."""
    own = [str(number) for name, number in ports.items() if not name.endswith("job_port")]
    if own:
        message = f"the framework has ports of its own, leased and free: {', '.join(own)} is nobody's"
        changed(container, "ports", message, "yard train render shows them")
    for name in ("readinessProbe", "startupProbe"):
        if name in container:
            dropped(container, name, "the framework says when its roles are ready", "roles.<role>.ready")
