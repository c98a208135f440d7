"""NVIDIA devices through the real binding, with a small library in the place of NVIDIA's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = """
typedef struct { unsigned int gpu, memory; } utilization;
typedef struct { unsigned long long total, free, used; } memory;
int nvmlInitWithFlags(unsigned int flags) { return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) { *device = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetMemoryInfo(void *device, memory *m) { m->total = 1ULL << 34; return 0; }
int nvmlDeviceGetUtilizationRates(void *device, utilization *u) { u->gpu = 25 * (long)device; return 0; }
"""
LOOK = """
from services.agent.host.gpus import Gpus
gpus = Gpus.open()
print("=", gpus and gpus.devices())
if gpus:
    gpus.offer(["1", "GPU-unknown"])
    print("=", gpus.busy())
"""


def look(library: str = "") -> list[str]:
    """What an agent's process sees; the library is found as NVIDIA's own would be."""
    root = str(Path(__file__).parents[3])
    env = {**os.environ, "PYTHONPATH": root, "LD_LIBRARY_PATH": library}
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    return [line.removeprefix("= ") for line in done.stdout.splitlines() if line.startswith("= ")]


def test_devices_and_how_busy_they_are_come_from_the_library(tmp_path: Path) -> None:
    pytest.importorskip("pynvml", reason="the extra gpu is not installed")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    (tmp_path / "nvml.c").write_text(LIBRARY)
    target = tmp_path / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", target, tmp_path / "nvml.c"], check=True)
    assert look(str(tmp_path)) == ["['0', '1']", "0.5"]


def test_machine_without_the_library_has_none_and_says_nothing() -> None:
    if shutil.which("nvidia-smi") is not None:
        pytest.skip("this machine has devices")
    assert look() == ["None"]
