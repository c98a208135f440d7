"""The process that sends: requests as JSON lines on stdin, answers on stdout, until stdin ends.

A process of its own, because the libraries that speak to services block, are large, and must be guarded; one message
at a time, so that it can be ended when one hangs. ``python -m services.scheduler.notify.sender [--allow NETWORKS]``.
"""

import argparse
import base64
import contextlib
import http.client
import importlib
import importlib.util
import io
import json
import logging
import os
import resource
import signal
import sys
import traceback
import warnings
from types import TracebackType
from typing import Any

from services.scheduler.notify.guard import Guard, parse_networks, readable_roots
from services.scheduler.notify.schemes import WEBHOOKS, secrets_of
from services.scheduler.notify.webhook import NotTaken, post

MOST_MEMORY_BYTES = 1 << 30
MOST_ERROR_CHARACTERS = 500
LIBRARY = "apprise"


class LibraryMissing(Exception):
    """apprise is not installed."""


class Sender:
    """Answers one request after the other."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._library: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """``ok``, or ``error`` with why not; ``missing`` where the library is not installed."""
        self._guard.refusals.clear()
        url = request["url"]
        try:
            error = self._warm() if request["op"] == "warm" else self._try(request, url)
        except LibraryMissing:
            return {"ok": False, "missing": True, "error": "apprise is not installed"}
        except NotTaken as refusal:
            error = str(refusal)
        except (OSError, http.client.HTTPException, ValueError, MemoryError) as failure:
            error = f"{type(failure).__name__}: {failure}" if str(failure) else type(failure).__name__
        if error and self._guard.refusals:
            error = self._guard.refusals[0]
        return {"ok": not error, "error": cleaned(error, url)}

    def _warm(self) -> str:
        self._apprise().Apprise().details()
        return ""

    def _try(self, request: dict[str, Any], url: str) -> str:
        if url.partition("://")[0].lower() in WEBHOOKS:
            if request["op"] == "send":
                body = request["body"].encode()
                post(url, body, event_id=request["event_id"], secret=request["secret"])
            return ""
        return self._by_library(request, url)

    def _by_library(self, request: dict[str, Any], url: str) -> str:
        apprise = self._apprise()
        with apprise.LogCapture(level=logging.DEBUG, fmt="%(levelno)d %(message)s") as said:
            target = apprise.Apprise.instantiate(url, suppress_exceptions=True)
            if target is None:
                return _lines(said) or "the service does not understand this URL"
            if request["op"] == "check":
                return ""
            attach = self._attachments(apprise, request) if target.attachment_support else None
            service = apprise.Apprise()
            service.add(target)
            taken = service.notify(
                body=request["body"],
                title=request["title"],
                attach=attach,
                body_format=apprise.NotifyFormat.TEXT,
            )
            return "" if taken else _lines(said) or "the service did not take the message"

    @staticmethod
    def _attachments(apprise: Any, request: dict[str, Any]) -> Any:
        memory = importlib.import_module("apprise.attachment.memory")
        attachments = apprise.AppriseAttachment()
        for file in request.get("attachments", ()):
            content = base64.b64decode(file["data"])
            attachments.add(memory.AttachMemory(content=content, name=file["name"], mimetype=file["type"]))
        return attachments if len(attachments) else None

    def _apprise(self) -> Any:
        if self._library is None:
            if importlib.util.find_spec(LIBRARY) is None:
                raise LibraryMissing
            requests = importlib.import_module("requests")
            original = requests.Session.request

            def request(session: Any, *arguments: Any, **named: Any) -> Any:
                return original(session, *arguments, **{**named, "allow_redirects": False})

            requests.Session.request = request
            self._library = importlib.import_module(LIBRARY)
        return self._library


def _lines(said: io.StringIO) -> str:
    """What the library complained of. Of its details only the exceptions: others hold whole messages."""
    found = []
    for line in said.getvalue().splitlines():
        level, _, text = line.partition(" ")
        if level.isdigit() and (int(level) >= logging.WARNING or "Exception:" in text):
            found.append(" ".join(text.split()))
    return "; ".join(found)


def cleaned(error: str, url: str) -> str:
    """The error without any part of the URL that may be a credential."""
    error = error.replace(url, "the contact")
    for secret in secrets_of(url):
        error = error.replace(secret, "…")
    return error[:MOST_ERROR_CHARACTERS]


def _show_where(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A defect, without its message, which may hold an address."""
    sys.stderr.write(
        "".join(traceback.format_tb(trace)) + f"{kind.__name__} (its message may hold an address)\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="sender", description=__doc__)
    parser.add_argument("--allow", default="", help="networks that may be reached although they are private")
    allowed = parse_networks(parser.parse_args().allow)
    # The scheduler ends it by closing stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    warnings.simplefilter("ignore")
    # What goes to stderr is in the scheduler's log: nothing there may show what was sent to whom.
    logging.lastResort = None
    sys.excepthook = _show_where
    # Answers alone go to stdout: a library that prints must not spoil them.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    guard = Guard(allowed, readable_roots())
    guard.install()
    sender = Sender(guard)
    for line in sys.stdin:
        answers.write(json.dumps(sender.answer(json.loads(line))) + "\n")
        # Broken where the scheduler has gone; whether the message was taken is then asked of nobody.
        with contextlib.suppress(BrokenPipeError):
            answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
