"""What Volcano's plug-ins tell the pods of a job: variables, files, ports. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.documents.problems import Reason, shown, suggestion
from modelyard.documents.section import Section
from modelyard.training.imports.source import dropped, inner

_HOSTS_FILES = "/etc/volcano"


class Plugins(msgspec.Struct, kw_only=True):
    """What they come to, by role."""

    env: dict[str, dict[str, str]] = {}
    env_json: dict[str, dict[str, Any]] = {}
    files: list[dict[str, str]] = []
    ports: dict[str, dict[str, str]] = {}
    ranks: list[str] = []
    replaced: dict[str, str] = {}


def mpi_roles(spec: Section, names: list[str]) -> dict[str, str]:
    """Tasks that the plug-in mpi makes a launcher and workers of, and their roles; none without it."""
    section = inner(spec, "plugins")
    if "mpi" not in section:
        return {}
    named = _named(section, "mpi", {name: name for name in names}, {"master": "master", "worker": "worker"})
    for part in ("master", "worker"):
        if part not in named:
            section.wrong("mpi", Reason.MISSING_FIELD, f"there is no task for its {part}", f"--{part}=…")
    return {
        named[part]: role for part, role in (("master", "launcher"), ("worker", "worker")) if part in named
    }


def plugins(spec: Section, roles: dict[str, str]) -> Plugins:
    """`roles`: by task."""
    section = inner(spec, "plugins")
    found = Plugins(env={role: {} for role in roles.values()})
    for name in section.names():
        known = _KNOWN.get(name)
        if known is not None:
            known(section, roles, found)
        elif name == "ssh":
            dropped(
                section,
                name,
                "nobody listens for ssh",
                "plugins: {mpi: [--master=…, --worker=…]}, or framework: mpi",
            )
        else:
            step = suggestion(name, _KNOWN, "roles.<role>.env and files")
            dropped(section, name, f"the plug-in {shown(name)} is left out", step)
    return found


def _env(section: Section, roles: dict[str, str], found: Plugins) -> None:
    for role in roles.values():
        found.env[role] |= {"VC_TASK_INDEX": "${self.index}", "VK_TASK_INDEX": "${self.index}"}


def _svc(section: Section, roles: dict[str, str], found: Plugins) -> None:
    told = {}
    for name, role in roles.items():
        word = "".join(char if char.isalnum() else "_" for char in name.upper()[:100])
        told[f"VC_{word}_HOSTS"] = f"${{join(roles.{role}.hosts, ',')}}"
        told[f"VC_{word}_NUM"] = f"${{roles.{role}.count}}"
        found.files.append({"path": f"volcano/{role}.host", "each": f"roles.{role}", "line": "${it.host}"})
        found.replaced[f"{_HOSTS_FILES}/{name}.host"] = f"${{self.dir}}/volcano/{role}.host"
    found.replaced[_HOSTS_FILES] = "${self.dir}/volcano"
    for role in roles.values():
        found.env[role] |= told


def _torch(section: Section, roles: dict[str, str], found: Plugins) -> None:
    named = _named(section, "pytorch", roles, {"master": "master", "worker": "worker"})
    master = named.get("master")
    if master is None:
        section.wrong("pytorch", Reason.MISSING_FIELD, "there is no task for its master", "--master=…")
        return
    found.ranks = [*named.values()]
    found.ports[master] = {"c10d": "auto"}
    for role in named.values():
        found.env[role] |= {
            "MASTER_ADDR": f"${{roles.{master}[0].host}}", "MASTER_PORT": f"${{roles.{master}[0].port.c10d}}",
            "WORLD_SIZE": "${world.size}", "RANK": "${proc.rank}",
        }  # fmt: skip


def _tensorflow(section: Section, roles: dict[str, str], found: Plugins) -> None:
    words = {"chief": "chief", "ps": "ps", "worker": "worker", "evaluator": "evaluator"}
    named = _named(section, "tensorflow", roles, words)
    cluster = {part: f"${{roles.{role}.addr.rpc}}" for part, role in named.items()}
    for part, role in named.items():
        found.ports[role] = {"rpc": "auto"}
        task = {"type": part, "index": "${self.index}"}
        found.env_json[role] = {"TF_CONFIG": {"cluster": cluster, "task": task}}


def _mpi(section: Section, roles: dict[str, str], found: Plugins) -> None:
    """The framework of that name tells them."""


_KNOWN = {"env": _env, "svc": _svc, "pytorch": _torch, "tensorflow": _tensorflow, "mpi": _mpi}


def _named(section: Section, plugin: str, roles: dict[str, str], defaults: dict[str, str]) -> dict[str, str]:
    """Roles by their part: of `--part=task`, else of the task that has the part's usual name."""
    tasks = dict(defaults)
    for word in section.texts(plugin, 20):
        name, _, value = word.lstrip("-").partition("=")
        if name in tasks and value:
            tasks[name] = value
            if value not in roles:
                message = f"there is no task {shown(value)!r} for its {name}"
                section.wrong(plugin, Reason.UNKNOWN_ROLE, message, suggestion(value, roles))
    return {part: roles[task] for part, task in tasks.items() if task in roles}
