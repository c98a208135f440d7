"""Huey: Redis that appends every write to its file and syncs it once a second, a consumer of two processes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from celery_driver import redis_command
from driver import System, answers, check, drive, free_port


class HueySystem(System):
    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.port = free_port()
        os.environ["RIVAL_REDIS"] = f"redis://127.0.0.1:{self.port}/0"
        consumer = str(Path(sys.executable).with_name("huey_consumer"))
        self.parts = {
            "broker": redis_command(self.port, place),
            "worker": [consumer, "huey_app.huey", "-w", "2", "-k", "process", "-q"],
        }

    def begin(self, name: str) -> None:
        if name == "worker":
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                try:
                    answers(self.port)
                    break
                except OSError:
                    time.sleep(0.02)
        super().begin(name)

    def connect(self) -> None:
        answers(self.port)
        import huey_app

        self.tasks = huey_app

    def call(self) -> None:
        check(self.tasks.same(1).get(blocking=True, timeout=60, backoff=1, max_delay=0.001), 1)

    def many(self, count: int) -> None:
        found = [self.tasks.same(i) for i in range(count)]
        got = [one.get(blocking=True, timeout=600, backoff=1, max_delay=0.005) for one in found]
        check(got, list(range(count)))

    def chain(self, count: int) -> None:
        last = self.tasks.same.s(1)
        for _ in range(count - 1):
            last = last.then(self.tasks.same)
        found = self.tasks.huey.enqueue(last)
        check(list(found)[-1].get(blocking=True, timeout=600, backoff=1, max_delay=0.005), 1)

    def hand_in(self, count: int, seconds: float, path: Path) -> None:
        self.handed = [self.tasks.wait_and_note(i, seconds, str(path)) for i in range(count)]

    def results(self, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        got = 0
        for one in self.handed:
            try:
                one.get(blocking=True, timeout=max(0.1, deadline - time.monotonic()))
                got += 1
            except Exception as error:
                print(f"{type(error).__name__}: {error}")
        return got


if __name__ == "__main__":
    drive(HueySystem)
