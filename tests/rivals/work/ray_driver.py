"""Ray: one head node of two cores without its dashboard; all of it in memory."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

# As it is by itself for local clusters, and will be for all: a token. Ray reads it when it is imported.
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))

import psutil
import ray
from driver import System, answers, check, drive, free_port, wait_and_note


@ray.remote
def same(value: int) -> int:
    return value


class Ray(System):
    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.port = free_port()
        self.address = f"{ray.util.get_node_ip_address()}:{self.port}"
        command = str(Path(sys.executable).with_name("ray"))
        self.parts = {
            "head": [command, "start", "--head", "--block", "--port", str(self.port), "--num-cpus", "2",
                     "--include-dashboard", "false", "--disable-usage-stats", "--object-store-memory", "200000000",
                     "--temp-dir", str(place / "ray")],
        }  # fmt: skip

    def connect(self) -> None:
        answers(self.port, self.address.partition(":")[0])
        try:
            ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError) as error:
            raise OSError(str(error)) from error

    def call(self) -> None:
        check(ray.get(same.remote(1)), 1)

    def many(self, count: int) -> None:
        check(ray.get([same.remote(i) for i in range(count)]), list(range(count)))

    def chain(self, count: int) -> None:
        last = same.remote(1)
        for _ in range(count - 1):
            last = same.remote(last)
        check(ray.get(last), 1)

    def hand_in(self, count: int, seconds: float, path: Path) -> None:
        note = ray.remote(wait_and_note)
        self.handed = [note.remote(i, seconds, str(path)) for i in range(count)]

    def results(self, timeout_s: float) -> int:
        done, _ = ray.wait(self.handed, num_returns=len(self.handed), timeout=timeout_s)
        return sum(self._has_answer(one) for one in done)

    def _has_answer(self, one: ray.ObjectRef) -> bool:
        try:
            ray.get(one, timeout=5)
            return True
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
            return False

    def victim(self, name: str) -> int:
        """The control store of the head, or a worker process."""
        children = psutil.Process(self.processes["head"].pid).children(recursive=True)
        wanted = "gcs_server" if name == "head" else "ray::wait_and_note"
        return next(one.pid for one in children if wanted in " ".join(one.cmdline()))

    def again(self, name: str) -> None:
        """The head ends as a whole with its control store, and begins anew as a whole."""
        if name == "head":
            self.close()
            self.processes.clear()
            self.begin(name)


if __name__ == "__main__":
    drive(Ray)
