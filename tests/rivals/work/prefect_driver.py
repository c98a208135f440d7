"""Prefect: a server with its own SQLite; tasks of a flow, on two threads of the flow's process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from driver import System, answers, drive, free_port, wait_and_note


class PrefectSystem(System):
    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.port = free_port()
        os.environ.update(
            PREFECT_HOME=str(place / "prefect"), PREFECT_API_URL=f"http://127.0.0.1:{self.port}/api",
            PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1", PREFECT_LOGGING_LEVEL="ERROR",
            PREFECT_SERVER_UI_ENABLED="false",
        )  # fmt: skip
        prefect = str(Path(sys.executable).with_name("prefect"))
        self.parts = {"server": [prefect, "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]}

    def connect(self) -> None:
        answers(self.port)
        from prefect import flow, task
        from prefect.task_runners import ThreadPoolTaskRunner

        @task(cache_policy=None)
        def same(value: int) -> int:
            return value

        @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
        def lone() -> int:
            return same.submit(1).result()

        @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
        def many(count: int) -> int:
            return sum(one.result() for one in [same.submit(1) for _ in range(count)])

        @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
        def chain(count: int) -> int:
            last = same.submit(1)
            for _ in range(count - 1):
                last = same.submit(last)
            return last.result()

        note_ = task(cache_policy=None)(wait_and_note)

        @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
        def note(count: int, seconds: float, path: str) -> int:
            return len([one.result() for one in [note_.submit(i, seconds, path) for i in range(count)]])

        self.flows = {"lone": lone, "many": many, "chain": chain, "note": note}

    def call(self) -> None:
        if self.flows["lone"]() != 1:
            raise RuntimeError("another result")

    def many(self, count: int) -> None:
        if self.flows["many"](count) != count:
            raise RuntimeError("another result")

    def chain(self, count: int) -> None:
        self.flows["chain"](count)

    def hand_in(self, count: int, seconds: float, path: Path) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.handed = ThreadPoolExecutor(1).submit(self.flows["note"], count, seconds, str(path))

    def results(self, timeout_s: float) -> int:
        try:
            return int(self.handed.result(timeout_s))
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
            return 0


if __name__ == "__main__":
    drive(PrefectSystem)
