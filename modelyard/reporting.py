"""`report`: a training program tells how far it is. Needs nothing but the standard library.

Owns the way to the keeper of the program's seat, which keeps a report until the trainer has it on disk.
"""

import http.client
import json
import os
import sys
from pathlib import Path
from typing import SupportsFloat
from urllib.parse import urlsplit

TIMEOUT_S = 5.0
_OWN = ("step", "total", "epoch", "ratio", "remaining", "message")
_trouble: set[str] = set()


def report(
    step: int | None = None,
    total: int | None = None,
    *,
    epoch: float | None = None,
    ratio: float | None = None,
    remaining: float | None = None,
    message: str = "",
    **metrics: SupportsFloat,
) -> bool:
    """Tells the yard the step and how many there are, and metrics by their names: ``report(3, 100, loss=0.25)``.

    True: save your state and end, for the job is being suspended, stopped or resized. Never raises because of the yard:
    what cannot be told is told on stderr, once a kind. Outside of a job it does nothing and gives False. At most 50 a
    second in the long run.
    """
    url = os.environ.get("YARD_REPORT_URL", "")
    if not url:
        return False
    said = {"step": step, "total": total, "epoch": epoch, "ratio": ratio, "remaining": remaining}
    values: dict[str, object] = {name: float(value) for name, value in metrics.items() if name not in _OWN}
    values.update({name: value for name, value in said.items() if value is not None})
    if message:
        values["message"] = message
    try:
        return _sent(url, json.dumps(values).encode())
    except (OSError, http.client.HTTPException, ValueError) as error:
        _tell(f"{type(error).__name__}: {error}")
        return False


def _sent(url: str, body: bytes) -> bool:
    token = Path(os.environ.get("YARD_REPORT_TOKEN", "")).read_text(encoding="utf-8")
    where = urlsplit(url)
    # Not urllib: it would ask a proxy for this machine's own address.
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=TIMEOUT_S)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", where.path, body, headers)
        answer = connection.getresponse()
        document = json.loads(answer.read())
        if answer.status != http.client.OK:
            _tell(str(document.get("message", answer.status)))
        return bool(document.get("should_stop"))
    finally:
        connection.close()


def _tell(trouble: str) -> None:
    if trouble not in _trouble:
        _trouble.add(trouble)
        print(f"modelyard: a report was not taken: {trouble}", file=sys.stderr)
