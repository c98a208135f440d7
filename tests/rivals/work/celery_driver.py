"""Celery: Redis that appends every write to its file and syncs it once a second, a worker of two processes."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from driver import System, answers, check, drive, free_port


class CelerySystem(System):
    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.port = free_port()
        os.environ["RIVAL_REDIS"] = f"redis://127.0.0.1:{self.port}/0"
        celery = str(Path(sys.executable).with_name("celery"))
        self.parts = {
            "broker": redis_command(self.port, place),
            "worker": [celery, "-A", "celery_app", "worker", "--concurrency", "2", "--loglevel", "WARNING",
                       "--without-gossip", "--without-mingle"],
        }  # fmt: skip

    def connect(self) -> None:
        answers(self.port)
        import celery_app

        self.tasks = celery_app

    def call(self) -> None:
        check(self.tasks.same.delay(1).get(timeout=60), 1)

    def many(self, count: int) -> None:
        from celery import group

        found = group(self.tasks.same.s(i) for i in range(count)).apply_async()
        check(found.get(timeout=600), list(range(count)))

    def chain(self, count: int) -> None:
        from celery import chain

        check(
            chain(self.tasks.same.s(1), *(self.tasks.same.s() for _ in range(count - 1)))().get(timeout=600),
            1,
        )

    def hand_in(self, count: int, seconds: float, path: Path) -> None:
        self.handed = [self.tasks.wait_and_note.delay(i, seconds, str(path)) for i in range(count)]

    def results(self, timeout_s: float) -> int:
        import time

        deadline = time.monotonic() + timeout_s
        got = 0
        for one in self.handed:
            try:
                one.get(timeout=max(0.1, deadline - time.monotonic()))
                got += 1
            except Exception as error:
                print(f"{type(error).__name__}: {error}")
        return got


def redis_command(port: int, place: Path) -> list[str]:
    found = shutil.which("redis-server")
    if found is None:
        raise SystemExit("there is no redis-server (Debian: redis-server)")
    durable = ["--appendonly", "yes", "--appendfsync", "everysec"]
    return [found, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(place), "--save", "", *durable]


if __name__ == "__main__":
    drive(CelerySystem)
