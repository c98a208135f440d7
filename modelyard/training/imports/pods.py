"""Pod templates, which all sources share: one container's command, variables and needs become a role's. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.documents.problems import Reason, shown
from modelyard.documents.section import Section
from modelyard.training.imports.ports import paired, ports_of, tell_framework
from modelyard.training.imports.probes import readiness
from modelyard.training.imports.resources import placement, resources
from modelyard.training.imports.source import (
    WRITTEN_BY_THE_CLUSTER,
    changed,
    dropped,
    inner,
    listed,
    mapping,
    rest,
    text_of,
)
from modelyard.training.imports.surroundings import Surroundings
from modelyard.training.imports.texts import image_paths
from modelyard.training.imports.variables import variables
from modelyard.training.imports.volumes import tell_volumes

_POD_ADVICE = {
    "affinity": "placement: {labels: {…}} or {distinct_nodes: true}",
    "topologySpreadConstraints": "placement: {policy: spread}",
    "tolerations": "queues and labels of nodes say who may go where: yard nodes label",
    "serviceAccountName": "programs run as the account of the yard's agent",
    "serviceAccount": "programs run as the account of the yard's agent",
    "securityContext": "programs run as the account of the yard's agent",
    "runtimeClassName": "programs run as plain processes",
    "ephemeralContainers": "leave them out",
    "resourceClaims": "resources: {gpu: 1}",
    "hostAliases": "addresses stand in ${roles.<role>[i].host}",
    "activeDeadlineSeconds": "limits: {active_deadline: …}, of the whole job",
    "readinessGates": "roles.<role>.ready",
}
_POD_QUIET = ("schedulerName", "imagePullSecrets", "dnsPolicy", "dnsConfig", "hostNetwork", "hostIPC", "hostPID",
              "subdomain", "hostname", "setHostnameAsFQDN", "enableServiceLinks", "automountServiceAccountToken",
              "shareProcessNamespace", "preemptionPolicy", "priority", "os", "schedulingGates", "overhead")  # fmt: skip
_CONTAINER_ADVICE = {
    "livenessProbe": "hang: {silent: 10m} sees instances that do nothing",
    "lifecycle": "a program may do it when it gets its signal: roles.<role>.stop",
    "securityContext": "programs run as the account of the yard's agent",
    "volumeDevices": "use a path that every node has",
    "resizePolicy": "leave it out",
}
_CONTAINER_QUIET = (
    "imagePullPolicy",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "stdin",
    "tty",
    "stdinOnce",
)


class Pod(msgspec.Struct, kw_only=True):
    """What a template comes to; texts are templates of the language."""

    argv: list[str] = []
    env: dict[str, str] = {}
    resources: dict[str, Any] = {}
    placement: dict[str, Any] = {}
    ports: dict[str, int] = {}
    ready: dict[str, Any] = {}
    stop: dict[str, Any] = {}
    restart_policy: str = ""
    priority_class: str = ""
    container: Section
    """For what is to be told of it later."""

    def said(self, *, with_argv: bool = True) -> dict[str, Any]:
        """As fields of a role of a job file."""
        found = {
            "argv": self.argv if with_argv else [], "env": self.env, "resources": self.resources,
            "placement": self.placement,
        }  # fmt: skip
        return {name: value for name, value in found.items() if value}


def pod(
    template: Section,
    around: Surroundings,
    count: int,
    names: tuple[str, ...] = (),
    *,
    role: str = "",
    brings_command: bool = False,
) -> Pod:
    """Of a template. `names`: containers that the work is in, else it is in the first. `role`: the one that it
    becomes, with ports of its own; empty: of a framework that has its own. `brings_command`: so has it a command."""
    metadata = inner(template, "metadata")
    own = {f"metadata.{kind}['{key}']": value for kind in ("labels", "annotations")
           for key, value in mapping(metadata, kind).items()}  # fmt: skip
    around = around.with_fields(
        {**{key: value.replace("${", "$${") for key, value in own.items()}, **around.fields}
    )
    rest(metadata, quiet=(*WRITTEN_BY_THE_CLUSTER, "name", "namespace", "generateName"))
    spec = inner(template, "spec")
    rest(template)
    container = _container(spec, names)
    found = _contained(container, around, count, role, brings_command)
    found.placement = placement(spec)
    found.restart_policy = spec.word("restartPolicy")
    found.priority_class = spec.word("priorityClassName")
    if "terminationGracePeriodSeconds" in spec:
        grace_s = spec.number("terminationGracePeriodSeconds", 30.0, 0, 3_600)
        found.stop = {"grace": f"{grace_s:g}s"}
    tell_volumes(spec, container)
    rest(spec, _POD_ADVICE, _POD_QUIET)
    return found


def _container(spec: Section, names: tuple[str, ...]) -> Section:
    """The one that the work is in; others are told."""
    found = listed(spec, "containers", 50)
    if not found:
        spec.wrong("containers", Reason.MISSING_FIELD, "there is no container in it")
        return inner(spec, "no container")
    named = [section.word("name") for section in found]
    chosen = next((named.index(name) for name in names if name in named), 0)
    for index, section in enumerate(found):
        if index != chosen:
            message = f"the container {shown(named[index])} beside it is left out"
            at = section.at
            spec.findings.add(
                Reason.NOT_CONVERTED, message, at, "make a role of it, or start it from the program"
            )
    for index, section in enumerate(listed(spec, "initContainers", 50)):
        message = f"the init container {shown(section.word('name') or str(index))} is left out"
        spec.findings.add(
            Reason.NOT_CONVERTED,
            message,
            section.at,
            "do it in the program, or make a role that others wait for",
        )
    return found[chosen]


def _contained(container: Section, around: Surroundings, count: int, role: str, brings_command: bool) -> Pod:
    container.node_of("name")
    ports = ports_of(container)
    env = paired(variables(container, around), ports, role)
    found = Pod(
        argv=command_of(container, env, around, brings_command), env=env, resources=resources(container),
        ports=ports, container=container,
    )  # fmt: skip
    if role:
        found.ready = readiness(container, found.ports, count == 1)
    else:
        tell_framework(container, ports)
    tell_image(container)
    if "workingDir" in container:
        dropped(
            container,
            "workingDir",
            "instances run in a directory of their own",
            "--dir gives it a copy of yours",
        )
    rest(container, _CONTAINER_ADVICE, (*_CONTAINER_QUIET, "volumeMounts"))
    return found


def tell_image(container: Section) -> None:
    """Nodes need no container engine for what is imported; who wants the image has to say so."""
    if "image" in container:
        image = shown(container.word("image"))
        message = f"programs run on the nodes themselves, not in the image {image}"
        step = (
            f"environment: {{image: {image}}} of the role; or {{requirements: […]}}, and --dir with its files"
        )
        changed(container, "image", message, step)


def command_of(
    container: Section, env: dict[str, str], around: Surroundings, brings_command: bool
) -> list[str]:
    """Templates of command and arguments; that none is there is told."""
    words = _words(container, "command")
    if not words and not brings_command:
        step = "roles.<role>.argv: the program that the image starts"
        dropped(container, "command", "what the image starts by itself is not known here", step)
    words += _words(container, "args")
    unknown: list[str] = []
    found = [around.texts.convert(word, env, unknown) for _, word in words]
    for name in dict.fromkeys(unknown):
        message = f"$({shown(name)}) stays as it is: {shown(name)} is no variable of this container"
        changed(
            container,
            "args" if "args" in container else "command",
            message,
            f"write ${name} in a shell's text",
        )
    paths = dict.fromkeys(path for word in found for path in image_paths(word))
    if paths and not brings_command:
        few = ", ".join(map(shown, list(paths)[:3])) + (" …" if len(paths) > 3 else "")
        changed(container, "args" if "args" in container else "command", f"only the image has {few}",
                "bring it with --dir, and write its path below that directory")  # fmt: skip
    return found


def _words(container: Section, name: str) -> list[tuple[str, str]]:
    """Texts of a list; numbers and booleans as they are written."""
    found = []
    for node, at in container.items(name):
        if node.fields is not None or node.items is not None:
            container.findings.add(Reason.WRONG_TYPE, f"it is {node.kind}, and should be a text", at)
        else:
            found.append((name, text_of(node)))
    return found
