"""Volumes are not taken over: what is told of each. Pure."""

from __future__ import annotations

from modelyard.documents.problems import Reason, shown
from modelyard.documents.section import Section
from modelyard.training.imports.source import dropped, listed


def tell_volumes(spec: Section, container: Section) -> None:
    """Of a pod and the container that the work is in."""
    mounts: dict[str, str] = {}
    for section in listed(container, "volumeMounts", 200):
        mounts.setdefault(section.word("name"), section.word("mountPath"))
    for section in listed(spec, "volumes", 200):
        path = mounts.pop(section.word("name"), "")
        where = f" at {shown(path)}" if path else ""
        if "emptyDir" in section and path in ("/dev/shm", "/tmp"):
            spec.findings.add(Reason.CONVERTED_OTHERWISE, f"{path} is the machine's own", section.at)
            continue
        if "emptyDir" in section:
            message, step = f"there is no directory{where}", "write below the instance's own directory"
        elif "configMap" in section or "secret" in section or "projected" in section:
            message, step = f"there are no files{where}", "roles.<role>.files, or --dir"
        else:
            message, step = f"nothing is mounted{where}", "use a path that every node has"
        spec.findings.add(Reason.NOT_CONVERTED, message, section.at, step)
    for name, path in mounts.items():
        message = f"nothing is mounted at {shown(path)} ({shown(name)})"
        dropped(container, "volumeMounts", message, "use a path that every node has")
