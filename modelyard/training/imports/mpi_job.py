"""MPIJob, v1 and v2beta1: a launcher with an mpirun, and workers that execute what it asks for. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.documents.problems import Reason, shown
from modelyard.documents.section import VARIABLE, Section
from modelyard.training.imports.drafts import Draft
from modelyard.training.imports.replicas import (
    Layout,
    Replica,
    begun,
    clean_pods,
    is_launched_by,
    replicas,
    run_policy,
)
from modelyard.training.imports.source import Object, changed, dropped, inner, rest
from modelyard.training.imports.surroundings import Surroundings
from modelyard.training.rendering.creation import PROCESSES_MOST

LAYOUT = Layout(
    field="mpiReplicaSpecs", roles={"Launcher": "launcher", "Worker": "worker"}, container="mpi",
    brings_command=("Worker",),
)  # fmt: skip
LAUNCHERS = ("mpirun", "mpiexec", "orterun", "mpiexec.hydra")
_WAITING = ("sshd", "sleep", "tail")
_IGNORED = ("--allow-run-as-root", "-allow-run-as-root")
_SET_HERE = (
    "-hostfile",
    "--hostfile",
    "-machinefile",
    "--machinefile",
    "-f",
    "-H",
    "-host",
    "--host",
    "-hosts",
)
_NUMBERS = ("-np", "--np", "-n", "-c")
_POLICIES = {
    "bind-to": ("OMPI_MCA_hwloc_base_binding_policy", "PRTE_MCA_hwloc_default_binding_policy"),
    "map-by": ("OMPI_MCA_rmaps_base_mapping_policy", "PRTE_MCA_rmaps_default_mapping_policy"),
}


class Mpirun(msgspec.Struct, kw_only=True):
    """A launcher's command, taken apart."""

    program: list[str] = []
    launcher_env: dict[str, str] = {}
    worker_env: dict[str, str] = {}


def convert(job: Object, around: Surroundings) -> Draft:
    """The draft."""
    spec = inner(job.section, "spec")
    layout = msgspec.structs.replace(LAYOUT, container=spec.word("mainContainer") or LAYOUT.container)
    found = replicas(job, spec, layout, around)
    draft = begun(job, "mpi")
    workers = found["Worker"].count if "Worker" in found else 0
    limit = run_policy(spec, draft, around, {"launcher": 1, "worker": workers})
    slots = spec.integer("slotsPerWorker", 1, 1, PROCESSES_MOST)
    _tell(spec)
    if "Launcher" not in found:
        spec.wrong(LAYOUT.field, Reason.MISSING_FIELD, "an MPIJob has a Launcher")
    elif not workers:
        spec.wrong(
            LAYOUT.field, Reason.MISSING_FIELD, "the launcher has no workers", "a Worker with replicas: 1"
        )
    else:
        fill(draft, found["Launcher"], found["Worker"], limit, slots)
    rest(spec)
    return draft


def fill(draft: Draft, launcher: Replica, worker: Replica, limit: int | None, slots: int) -> None:
    """Takes launcher and workers into a draft of the framework `mpi`."""
    roles = {"launcher": launcher.role(limit), "worker": worker.role(limit)}
    roles["launcher"].pop("count")
    command = roles["worker"].pop("argv", [])
    if command and not is_launched_by(command, _WAITING):
        message = "workers execute what the launcher asks for, and nothing else"
        dropped(worker.pod.container, "command", message, "put it into the launcher's command")
    draft.params = {"slots": slots} if slots > 1 else {}
    argv = launcher.pod.argv
    taken = apart(argv, worker.count * slots, launcher.pod.env)
    if taken is None:
        draft.params["own_launcher"] = True
        message = "it is run as it is; ranks on other machines begin in the home directory"
        changed(
            launcher.pod.container, "command", message, "argv: the program of every rank, without its mpirun"
        )
    else:
        roles["launcher"]["argv"] = taken.program
        _lay(roles["launcher"], taken.launcher_env)
        _lay(roles["worker"], taken.worker_env)
    if any("allow-run-as-root" in word for word in argv):
        _lay(roles["launcher"], {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"})
    draft.roles = roles


def _lay(role: dict[str, Any], env: dict[str, str]) -> None:
    if env:
        role["env"] = {**role.get("env", {}), **env}


def _tell(spec: Section) -> None:
    """Fields beside the replicas and the run policy."""
    if "cleanPodPolicy" in spec:
        clean_pods(spec)
    word = spec.word("mpiImplementation")
    if word not in ("", "OpenMPI", "Intel", "MPICH"):
        spec.wrong(
            "mpiImplementation", Reason.BAD_VALUE, f"{shown(word)!r} is none", "OpenMPI, Intel or MPICH"
        )
    if spec.flag("runLauncherAsWorker"):
        dropped(
            spec, "runLauncherAsWorker", "the launcher runs no ranks", "one worker more: roles.worker.count"
        )
    # Nobody needs ssh, and the launcher starts once all workers listen.
    for name in ("sshAuthMountPath", "launcherCreationPolicy"):
        spec.node_of(name)


def apart(argv: list[str], ranks: int, env: dict[str, str]) -> Mpirun | None:
    """The program of every rank and what its mpirun was told; None: it is better left as it is."""
    words = list(argv)
    if not words or words.pop(0).rpartition("/")[2] not in LAUNCHERS:
        return None
    found = Mpirun()
    while words and words[0].startswith("-"):
        if not _option(words, ranks, env, found):
            return None
    found.program = words
    return found if words else None


def _option(words: list[str], ranks: int, env: dict[str, str], found: Mpirun) -> bool:
    """Takes one option away; false: it is not known."""
    name = words.pop(0)
    if name in _IGNORED:
        return True
    if name in ("-mca", "--mca") and len(words) > 1:
        key, value = words.pop(0), words.pop(0)
        # How remote machines are reached is the framework's.
        if key not in ("plm_rsh_args", "plm_rsh_agent"):
            found.launcher_env[f"OMPI_MCA_{key}"] = value
        return VARIABLE.fullmatch(key) is not None
    value = words.pop(0) if words else ""
    if name in _NUMBERS:
        return value == str(ranks)
    if name == "-x":
        variable, _, text = value.partition("=")
        if text or variable in env:
            found.worker_env[variable] = text or env[variable]
        return VARIABLE.fullmatch(variable) is not None
    if (policy := _POLICIES.get(name.lstrip("-"))) is not None:
        found.launcher_env |= dict.fromkeys(policy, value)
        return True
    return name in _SET_HERE
