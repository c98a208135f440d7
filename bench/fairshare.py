"""How close accounts come to their weights in an hour of saturated load, on the scheduler's pure machine."""

from bench.figures import Figure
from tests.support.fair_share import WEIGHTS, shares_of_an_hour

CORES = (7, 20, 40)
SEEDS = (1, 2, 3)


def _worst(cpu: int, seed: int) -> float:
    """By how much the account that came off worst or best missed its part, as a share of that part."""
    shares = shares_of_an_hour(WEIGHTS, cpu=cpu, seed=seed)
    due = {name: weight / sum(WEIGHTS.values()) for name, weight in WEIGHTS.items()}
    return max(abs(shares[name] / due[name] - 1) for name in WEIGHTS)


def measure() -> list[Figure]:
    return [
        Figure(
            f"fair share, weights 1:2:5 on {cpu} cores, an hour: worst deviation",
            "%",
            tuple(100 * _worst(cpu, seed) for seed in SEEDS),
            "≤ 5 %",
            "tasks of 5 – 120 s, simulated time",
        )
        for cpu in CORES
    ]
