"""What the scheduler's pure machine wants kept, on a real SQLite in memory; a restart at any commit."""

from __future__ import annotations

import sqlite3

from services.chassis.storage.sqlite import load_migrations
from services.scheduler.records import recovery, restart
from services.scheduler.records.rows import Counters
from services.scheduler.records.store import SchedulerStore
from services.scheduler.state.state import State
from tests.support.scheduler_cluster import MachineCluster


class Disk:
    """The scheduler's own SQL on a real SQLite in memory; restores at any commit."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        for _, script in load_migrations("services.scheduler"):
            self.connection.executescript(script)
        self.store = SchedulerStore(None)  # type: ignore[arg-type]
        self.written = 0

    def persist(self, cluster: MachineCluster) -> None:
        state = cluster.state
        rows, self.written = cluster.rows[self.written :], len(cluster.rows)
        if rows:
            counters = Counters(
                state.epoch, state.next_number, state.revision, state.next_spec, recovery.live_from(state)
            )
            self.connection.execute("BEGIN")
            self.store._persist(self.connection, rows, counters, cluster.wall_ms)
            self.connection.execute("COMMIT")

    def restore(self, cluster: MachineCluster) -> State:
        recovered = restart.read_back(self.connection, self.store.sql, cluster.wall_ms, 10_000, 10_000)
        return recovery.restore(recovered, cluster.now)

    def restart(self, cluster: MachineCluster) -> None:
        """The scheduler ends and starts again: a new epoch, all that was committed, and nothing else."""
        self.persist(cluster)
        epoch = cluster.state.epoch
        cluster.state = self.restore(cluster)
        cluster.state.epoch = epoch + 1
