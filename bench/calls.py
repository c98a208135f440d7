"""Warm operator calls through the whole suite: one at a time, and many."""

import asyncio
import time

from bench.figures import Figure, percentile
from bench.yard import Yard, running_yard
from modelyard.client import Client

LONE_CALLS = 400
MANY_CALLS = 10_000
RUNS = 5


async def lone_ms(client: Client, count: int) -> list[float]:
    """Milliseconds from call to result, one after the other."""
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        await client.call("echo", value=1)
        times.append((time.perf_counter() - begun) * 1e3)
    return times


async def many_per_s(client: Client, count: int) -> float:
    """Calls a second when all are handed in at once; every result is checked."""
    begun = time.perf_counter()
    results = await client.map("echo", [{"value": i} for i in range(count)])
    elapsed = time.perf_counter() - begun
    if results != list(range(count)):
        raise RuntimeError("a call gave another call's result")
    return count / elapsed


async def _measure(yard: Yard) -> list[Figure]:
    async with Client(state=yard.state) as client:
        await lone_ms(client, 200)
        await many_per_s(client, MANY_CALLS)
        p50, p99, rates = [], [], []
        for _ in range(RUNS):
            times = await lone_ms(client, LONE_CALLS)
            p50.append(percentile(times, 0.5))
            p99.append(percentile(times, 0.99))
            rates.append(await many_per_s(client, MANY_CALLS))
    return [
        Figure("warm operator call, submit → result, p50", "ms", tuple(p50), "≤ 2.0, aim 1.4"),
        Figure("the same, p99", "ms", tuple(p99), "≤ 6"),
        Figure("10,000 no-op calls, 2 workers", "calls/s", tuple(rates), "≥ 8,000, aim 15,000"),
    ]


def measure() -> list[Figure]:
    with running_yard() as yard:
        return asyncio.run(_measure(yard))
