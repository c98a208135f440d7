"""The tasks of Huey."""

from __future__ import annotations

import os

from driver import wait_and_note as work
from huey import RedisHuey

huey = RedisHuey("rival", url=os.environ.get("RIVAL_REDIS", ""))


@huey.task()
def same(value: int) -> int:
    return value


@huey.task()
def wait_and_note(number: int, seconds: float, path: str) -> int:
    return work(number, seconds, path)
