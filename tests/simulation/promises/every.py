"""All promises that are checked beside the history's."""

from __future__ import annotations

from tests.simulation.history import History
from tests.simulation.promises.depending import Depending
from tests.simulation.promises.explaining import Explaining
from tests.simulation.promises.gathering import Gathering
from tests.simulation.promises.limits import Limits
from tests.simulation.promises.promise import Promise
from tests.simulation.promises.quoting import Quoting
from tests.simulation.promises.rebuilding import Rebuilding
from tests.simulation.promises.retrying import Retrying
from tests.simulation.promises.turns import Turns
from tests.simulation.scheduler_host import SchedulerHost


def all_promises(seed: int, scheduler: SchedulerHost, history: History) -> tuple[Promise, ...]:
    """For one run; they draw what they look at from the seed, but not from the kernel's randomness."""
    return (
        Explaining(seed, history),
        Quoting(history),
        Turns(history),
        Limits(history),
        Depending(history),
        Gathering(history),
        Retrying(history),
        Rebuilding(seed, scheduler, history),
    )
