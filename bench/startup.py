"""How long things take from nothing: the first result of a new yard, the help of the command line, idling."""

import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from bench.figures import Figure
from bench.yard import YARD, free_port_base, running_yard

RUNS = 5
SETTLE_S = 5.0
IDLE_S = 20.0


def first_result_s() -> float:
    """From `yard up --detach` to the answer of `yard call`, as a user would type them."""
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as folder:
        state = ["--state", folder]
        up = [str(YARD), "up", "--detach", "--port-base", str(free_port_base()), *state]
        begun = time.perf_counter()
        subprocess.run(up, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(
            [str(YARD), "call", "echo", "--param", "value=1", *state], check=True, stdout=subprocess.DEVNULL
        )
        elapsed = time.perf_counter() - begun
        subprocess.run(
            [str(YARD), "down", *state], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    return elapsed


def help_ms() -> float:
    begun = time.perf_counter()
    subprocess.run([str(YARD), "--help"], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1e3


def idle() -> tuple[float, float]:
    """Resident MB of all processes of an idle yard with one agent, and their share of a core in percent."""
    with running_yard() as yard:
        yard.run("call", "echo", "--param", "value=1")
        time.sleep(SETTLE_S)
        processes = _processes(yard.state)
        before = sum(_cpu_s(p) for p in processes)
        begun = time.perf_counter()
        time.sleep(IDLE_S)
        used = sum(_cpu_s(p) for p in processes) - before
        share = used / (time.perf_counter() - begun) * 100
        return sum(p.memory_info().rss for p in processes) / 1e6, share


def _processes(state: Path) -> list[psutil.Process]:
    """Everything that names this state directory, and all that it started."""
    named = [p for p in psutil.process_iter(["cmdline"]) if str(state) in " ".join(p.info["cmdline"] or [])]
    return list({p.pid: p for root in named for p in (root, *root.children(recursive=True))}.values())


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def measure() -> list[Figure]:
    firsts = tuple(first_result_s() for _ in range(RUNS))
    helps = tuple(help_ms() for _ in range(2 * RUNS))
    idles = [idle() for _ in range(3)]
    return [
        Figure("`yard up` → first result of `yard call`", "s", firsts, "≤ 2.0"),
        Figure("`yard --help`", "ms", helps, "≤ 150"),
        Figure("idle: RSS of all processes", "MB", tuple(i[0] for i in idles), "≤ 350"),
        Figure("idle: CPU", "% of a core", tuple(i[1] for i in idles), "≤ 2"),
    ]
