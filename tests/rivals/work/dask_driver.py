"""Dask: a scheduler, two workers of one thread each; all of it in memory."""

from __future__ import annotations

from pathlib import Path

from dask.distributed import Client, wait
from driver import System, answers, check, drive, free_port, wait_and_note


def same(value: int) -> int:
    return value


class Dask(System):
    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.port = free_port()
        dask = str(Path(__import__("sys").executable).with_name("dask"))
        nothing = ["--no-dashboard"]
        self.parts = {
            "scheduler": [dask, "scheduler", "--host", "127.0.0.1", "--port", str(self.port), *nothing],
            "worker": [dask, "worker", f"tcp://127.0.0.1:{self.port}", "--nworkers", "2", "--nthreads", "1",
                       *nothing],
        }  # fmt: skip

    def connect(self) -> None:
        answers(self.port)
        self.client = Client(f"tcp://127.0.0.1:{self.port}")

    def call(self) -> None:
        check(self.client.submit(same, 1, pure=False).result(), 1)

    def many(self, count: int) -> None:
        check(self.client.gather(self.client.map(same, range(count), pure=False)), list(range(count)))

    def chain(self, count: int) -> None:
        last = self.client.submit(same, 1, pure=False)
        for _ in range(count - 1):
            last = self.client.submit(same, last, pure=False)
        check(last.result(), 1)

    def hand_in(self, count: int, seconds: float, path: Path) -> None:
        self.handed = [
            self.client.submit(wait_and_note, i, seconds, str(path), pure=False) for i in range(count)
        ]

    def results(self, timeout_s: float) -> int:
        try:
            wait(self.handed, timeout=timeout_s)
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
        return sum(one.status == "finished" for one in self.handed)


if __name__ == "__main__":
    drive(Dask)
