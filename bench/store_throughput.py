"""Measures the store on loopback: put and get of one artefact by the client helpers, and the store's memory.

    python -m bench.store_throughput --mib 1024 --folder /var/tmp

Prints MB/s (10^6) of the best and the median of the rounds, what the disk alone does (write + fsync, no gRPC,
no hash) at the same moment, and the growth of the store's resident memory over the run.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from modelyard.artifacts import get_to_file, put_file
from modelyard.channel import connect
from modelyard.v1 import artifact_pb2 as pb
from modelyard.v1.artifact_pb2_grpc import ArtifactServiceStub
from tests.support.store_yard import account_desk, store_process


def make_file(path: Path, mib: int) -> None:
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for number in range(mib):
            file.write(number.to_bytes(8, "big") + os.urandom(8) + block[16:])
        os.fsync(file.fileno())


def write_alone(path: Path, mib: int) -> float:
    block = os.urandom(1 << 20)
    start = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(block)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return seconds


class PeakMemory:
    """Samples the resident memory of a process every 20 ms."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.start_bytes = self.peak_bytes = self._process.memory_info().rss

    async def watch(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)
            await asyncio.sleep(0.02)


async def measure(folder: Path, mib: int, rounds: int) -> None:
    puts, gets, raw_gets, disk = [], [], [], []
    source, target = folder / "source", folder / "target"
    async with account_desk() as desk, store_process(folder / "state", desk) as store:
        channel = connect(store.address, token="ada")
        await ArtifactServiceStub(channel).ListArtifacts(pb.ListArtifactsRequest())
        memory = PeakMemory(store.process.pid)
        watch = asyncio.create_task(memory.watch())
        for _ in range(rounds):
            make_file(source, mib)
            disk.append(write_alone(folder / "alone", mib))
            start = time.perf_counter()
            artifact = await put_file(channel, source, name="bench")
            puts.append(time.perf_counter() - start)
            start = time.perf_counter()
            await get_to_file(channel, artifact.digest, target)
            gets.append(time.perf_counter() - start)
            start = time.perf_counter()
            async for _answer in ArtifactServiceStub(channel).GetArtifact(
                pb.GetArtifactRequest(digest=artifact.digest)
            ):
                pass
            raw_gets.append(time.perf_counter() - start)
            await ArtifactServiceStub(channel).DeleteArtifact(
                pb.DeleteArtifactRequest(digest=artifact.digest)
            )
        watch.cancel()
        await channel.close()
    for name, seconds in (("disk", disk), ("put", puts), ("get", gets), ("get-drop", raw_gets)):
        best, median = min(seconds), statistics.median(seconds)
        print(f"{name:9} best {mib * 1.048576 / best:6.0f} MB/s   median {mib * 1.048576 / median:6.0f} MB/s")
    growth = memory.peak_bytes - memory.start_bytes
    print(f"store memory: {memory.start_bytes / 1e6:.0f} MB, grew by at most {growth / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where; its disk is what is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        asyncio.run(measure(Path(folder), options.mib, options.rounds))


if __name__ == "__main__":
    main()
