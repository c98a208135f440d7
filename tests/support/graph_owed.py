"""Whether a yard's graph service owes something to other services: what a test waits for before it has it die."""

from __future__ import annotations

import contextlib
import sqlite3

from tests.support.wait import wait_until_sync
from tests.support.yard import Yard


def wait_until_nothing_is_owed(yard: Yard) -> None:
    """Projects that were saved owe references too: without this a service that is to die for a run dies for them."""

    def is_empty() -> bool:
        path = f"file:{yard.state / 'graph' / 'graph.db'}?mode=ro"
        with contextlib.closing(sqlite3.connect(path, uri=True)) as connection:
            return not connection.execute("SELECT count(*) FROM errand").fetchone()[0]

    wait_until_sync(is_empty, "nothing is owed", timeout_s=20)
