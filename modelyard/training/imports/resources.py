"""What a container asks for, and where it may go. Pure."""

from __future__ import annotations

import re
from typing import Any

from modelyard.documents.problems import Reason, shown
from modelyard.documents.section import Section
from modelyard.training.imports.source import changed, dropped, inner, mapping, text_of

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,2})|([numkMGTPE]|[KMGTPE]i)?)")
_POWERS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
           "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60}  # fmt: skip
_GPUS = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915")
_MOST = {"cpu": 10_000.0, "memory": float(1 << 60), "gpu": 10_000.0}


def quantity(text: str) -> float | None:
    """Of "500m", "1Gi", "2e3"; None: it is none."""
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or len(text) > 40:
        return None
    return float(found[1]) * (10.0 ** int(found[2]) if found[2] else _POWERS[found[3] or ""])


def resources(container: Section, name: str = "resources") -> dict[str, Any]:
    """cpu, memory and gpu of a container; nothing said: nothing."""
    section = container.section(name)
    if section is None:
        return {}
    requests, limits = inner(section, "requests"), inner(section, "limits")
    asked, bound = _amounts(requests), _amounts(limits)
    found: dict[str, Any] = {}
    if cpu := asked.get("cpu", bound.get("cpu")):
        found["cpu"] = _plain(cpu)
    # Memory is the bound at which a program is ended, here as there.
    if memory := bound.get("memory", asked.get("memory")):
        found["memory"] = _size(int(memory))
    if gpu := bound.get("gpu", asked.get("gpu")):
        found["gpu"] = _plain(gpu)
    for kind, taken in (("cpu", "the request"), ("memory", "the limit")):
        if kind in asked and kind in bound and asked[kind] != bound[kind]:
            message = f"{taken} of {kind} counts; there is one number for both"
            changed(limits, kind, message)
    if "claims" in section:
        dropped(section, "claims", "claims of devices are left out", "resources: {gpu: 1}")
    return found


def _amounts(section: Section) -> dict[str, float]:
    found = {}
    for name in section.names():
        kind = "gpu" if name in _GPUS else name
        amount = quantity(text_of(section.node_of(name)))
        if amount is None:
            section.wrong(name, Reason.BAD_VALUE, "it is no quantity", "write for example 500m, 2 or 1Gi")
        elif kind not in _MOST:
            step = "nodes offer it as a custom resource: resources: {custom: {name: 1}}"
            dropped(section, name, f"{shown(name)} is left out", step)
        elif amount > _MOST[kind]:
            section.wrong(name, Reason.OUT_OF_RANGE, f"it is more than {_MOST[kind]:g}")
        else:
            found[kind] = amount
    return found


def _plain(number: float) -> int | float:
    return int(number) if number == int(number) else round(number, 6)


def _size(number: int) -> int | str:
    for unit, power in (("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if number and number % (1 << power) == 0:
            return f"{number >> power}{unit}"
    return number


def placement(pod: Section) -> dict[str, Any]:
    """Where instances may go."""
    found: dict[str, Any] = {}
    labels = mapping(pod, "nodeSelector")
    host = labels.pop("kubernetes.io/hostname", "") or pod.word("nodeName")
    if host:
        found["node"] = host
        changed(pod, "nodeSelector" if "nodeSelector" in pod else "nodeName", f"{shown(host)} has to be a node's name",
                "yard nodes ls")  # fmt: skip
    if labels:
        found["labels"] = dict(list(labels.items())[:64])
        changed(pod, "nodeSelector", "nodes need these labels here as well", "yard nodes label")
    return found
