"""Which programs a yard consists of, and how each is started. Pure: it starts nothing."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from cli.supervisor.options import Options


@dataclass(frozen=True, slots=True)
class Program:
    """One process: what to run, where it says that it serves, where its output goes."""

    name: str
    argv: tuple[str, ...]
    ready_file: Path
    log_file: Path


def programs(state: Path, options: Options) -> list[Program]:
    """Scheduler, store, graph service, trainer, models service and agents; stopped in the reverse order."""
    tls: tuple[str, ...] = ("--tls",) if options.tls else ()
    scheduler: tuple[str, ...] = ("--host", options.host, "--port", str(options.port_base), *tls)
    scheduler += ("--store", options.store)
    if options.notify_allow:
        scheduler += ("--notify-allow", options.notify_allow)
    if options.tls:
        scheduler += ("--agent-port", str(options.ports["scheduler (agents)"]))
    store: tuple[str, ...] = ("--host", options.host, "--port", str(options.port_base + 1), *tls)
    store += ("--scheduler", options.endpoint)
    graph: tuple[str, ...] = ("--host", options.host, "--port", str(options.port_base + 2), *tls)
    graph += ("--scheduler", options.endpoint, "--store", options.store)
    graph += ("--models", options.serving) if options.models else ()
    if options.webhook_port:
        graph += ("--webhook-port", str(options.webhook_port), "--webhook-host", options.host)
    services = [
        _program(state, "scheduler", "services.scheduler", (*scheduler, *_metrics(options, 0))),
        _program(state, "store", "services.store", (*store, *_metrics(options, 1))),
    ]
    if options.graphs:
        services.append(_program(state, "graph", "services.graph", (*graph, *_metrics(options, 2))))
    if options.trainer:
        trainer: tuple[str, ...] = ("--host", options.host, "--port", str(options.port_base + 3), *tls)
        trainer += (
            "--scheduler",
            options.endpoint,
            "--store",
            options.store,
            *_metrics(options, 3 + options.agents),
        )
        services.append(_program(state, "trainer", "services.trainer", trainer))
    if options.models:
        models: tuple[str, ...] = ("--host", options.host, "--port", str(options.port_base + 4), *tls)
        models += ("--scheduler", options.endpoint, "--store", options.store)
        models += ("--graph", options.graph) if options.graphs else ()
        models += ("--trainer", options.training) if options.trainer else ()
        models += ("--trust", options.trust) if options.trust else ()
        services.append(
            _program(state, "models", "services.models", (*models, *_metrics(options, 4 + options.agents)))
        )
    return services + [_agent(state, options, number) for number in range(1, options.agents + 1)]


def _metrics(options: Options, number: int) -> tuple[str, ...]:
    base = options.metrics_port_base
    return ("--metrics-port", str(base + number)) if base else ()


def _agent(state: Path, options: Options, number: int) -> Program:
    node = f"node-{number}"
    arguments: tuple[str, ...] = (
        "--node",
        node,
        "--scheduler",
        options.endpoint,
        "--store",
        options.store,
    )
    arguments += ("--join-token-file", str(state / "secrets" / "join.token"))
    if options.tls:
        arguments += ("--ca-file", str(state / "tls" / "ca.pem"))
    cpu, memory_bytes = share_of_machine(options)
    if options.agents > 1 or options.cpu:
        arguments += ("--cpu", f"{cpu:g}")
    if options.agents > 1 or options.memory_bytes:
        arguments += ("--memory", str(memory_bytes))
    arguments += _metrics(options, 2 + number)
    return _program(state, f"agent-{node}", "services.agent", arguments)


def share_of_machine(options: Options) -> tuple[float, int]:
    """What each of the agents on this machine may give away: cores, bytes."""
    cpu = options.cpu or float(len(os.sched_getaffinity(0)))
    memory_bytes = options.memory_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    count = max(options.agents, 1)
    return round(cpu / count, 4), memory_bytes // count


def _program(state: Path, name: str, module: str, arguments: tuple[str, ...]) -> Program:
    argv = (sys.executable, "-m", module, "--state", str(state), *arguments)
    return Program(name, argv, state / "run" / f"{name}.json", state / "logs" / f"{name}.log")
