"""The tasks of Celery."""

from __future__ import annotations

import os

from celery import Celery
from driver import wait_and_note as work

app = Celery("rival", broker=os.environ.get("RIVAL_REDIS", ""), backend=os.environ.get("RIVAL_REDIS", ""))
app.conf.update(broker_connection_retry_on_startup=True, task_ignore_result=False)


@app.task
def same(value: int) -> int:
    return value


@app.task(acks_late=True, reject_on_worker_lost=True)
def wait_and_note(number: int, seconds: float, path: str) -> int:
    return work(number, seconds, path)
