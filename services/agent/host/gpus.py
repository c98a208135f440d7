"""NVIDIA devices, where the extra ``modelyard[gpu]`` and NVIDIA's own library are: which there are, how busy they are.

Owns the library. Without either of the two nothing is measured, and devices are listed by nvidia-smi if that is there.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from services.chassis.logs import get_logger

_log = get_logger("agent.gpus")


class Gpus:
    """Open with `open`."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._offered: list[Any] = []

    @classmethod
    def open(cls) -> Gpus | None:
        """None: there is no such library here, which is nothing to complain about."""
        try:
            library: Any = importlib.import_module("pynvml")
        except ImportError:
            return None
        try:
            library.nvmlInit()
        except library.NVMLError_LibraryNotFound:
            return None
        except library.NVMLError as error:
            _log.warning("gpus_not_read", reason=str(error), next_step="name them with --gpu 0,1")
            return None
        return cls(library)

    def devices(self) -> list[str]:
        """The numbers of all devices of the machine."""
        return [str(number) for number in range(self._library.nvmlDeviceGetCount())]

    def offer(self, devices: Sequence[str]) -> None:
        """Measures these from now on; what is no number (a share, a unique id) is not measured."""
        library = self._library
        for device in devices:
            number = device.partition(":")[0]
            if not number.isdigit():
                continue
            try:
                handle = library.nvmlDeviceGetHandleByIndex(int(number))
                total_bytes = library.nvmlDeviceGetMemoryInfo(handle).total
            except library.NVMLError as error:
                _log.warning("gpu_not_read", device=device, reason=str(error))
                continue
            self._offered.append(handle)
            _log.info("gpu_measured", device=device, memory_bytes=total_bytes)

    def busy(self) -> float:
        """How many of the offered devices are busy now, each counted by its share of time."""
        busy = 0.0
        for handle in self._offered:
            try:
                busy += self._library.nvmlDeviceGetUtilizationRates(handle).gpu / 100
            except self._library.NVMLError:
                # It fell off the bus, or does not tell: then nothing is known of it.
                continue
        return busy
