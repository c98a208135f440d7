"""A worker: the main thread that runs work, and how requests reach it.

Owns the order of things in a worker. How single calls and commands run is elsewhere (`calls`, `commands`).
"""

import faulthandler
import os
import socket
import threading
import time
import traceback
from collections.abc import Sequence

from modelyard.worker.calls import BadCall, Caller, decode_params
from modelyard.worker.commands.commands import Commander
from modelyard.worker.fence import Fences
from modelyard.worker.frames import Message
from modelyard.worker.keeper import Keeper
from modelyard.worker.ledger import Ledger, now_ms
from modelyard.worker.link import Link
from modelyard.worker.processes.capture import Capture
from modelyard.worker.processes.ending import (
    adopt_orphans,
    end_children,
    offer_to_oom_killer,
    renounce_privileges,
)
from modelyard.worker.warm.forker import Forker

# Reports are collected for this long while the next call is already there.
_COLLECT_S = 0.001


class Harness:
    """Everything a worker has. Made and run on the main thread of a process that is nothing else."""

    def __init__(
        self, listener: socket.socket, log_fd: int, orphan_timeout_s: float, forker: Forker | None = None
    ) -> None:
        self._ledger = Ledger()
        self._capture = Capture(log_fd)
        self._caller = Caller(self._ledger.progress, self._ledger.modified)
        self._commander = Commander(self._ledger.lead)
        self._keeper = Keeper(self._ledger.open, self._ledger.tell_of_seat, self._commander.records, forker)
        # The key of the call that runs; empty: none does.
        self._call = ""
        self._fences = Fences(self._interrupt, log_fd)
        self._link = Link(
            listener, self._ledger, self._capture, self._on_request, self._look, orphan_timeout_s
        )

    def run(self) -> None:
        """Runs work until the agent asks the worker to quit and nothing is left to do or to say."""
        threading.Thread(target=self._link.help, name="link", daemon=True).start()
        ledger = self._ledger
        while not (ledger.quitting and ledger.is_idle and not ledger.reports):
            key = self._link.next_key()
            if key is None:
                continue
            work = ledger.begin(key)
            if work is not None:
                self._call = "" if "command" in work or "seat" in work else key
                ledger.end(self._run(key, work))
                self._fences.forget(key)
            if ledger.queue.empty() or time.monotonic() - ledger.flushed_at > _COLLECT_S:
                ledger.flush()

    def _run(self, key: str, work: Message) -> Message:
        start = self._ledger.running["start_time_ms"] if self._ledger.running else now_ms()
        if "command" in work:
            return self._commander.run(key, work["command"], start)
        if "seat" in work:
            return self._keeper.run(key, work["seat"], start)
        call = work.get("operator", {})
        self._capture.begin(call.get("log_directory", ""))
        fields = self._caller.run(key, call)
        stdout_bytes, stderr_bytes = self._capture.end()
        report = {"key": key, "start_time_ms": start, "end_time_ms": now_ms(), **fields}
        if stdout_bytes:
            report["stdout_bytes"] = stdout_bytes
        if stderr_bytes:
            report["stderr_bytes"] = stderr_bytes
        return report

    # On the thread that serves the socket

    def _on_request(self, request: Message) -> None:
        if "ack" in request:
            self._ledger.acknowledge(request["ack"])
            self._commander.records.forget(request["ack"])
        if "run" in request:
            self._ledger.accept(request["run"])
        for change in request.get("modify", ()):
            self._modify(change)
        for order in request.get("seats", ()):
            self._order(order)
        for fence in request.get("fence", ()):
            self._fences.set(fence)
        for cancel in request.get("cancel", ()):
            if not self._ledger.withdraw(cancel["key"]) and not cancel.get("if_waiting", False):
                self._interrupt(cancel["key"], int(cancel.get("grace_ms", 0)), cancel.get("signal", ""))
        if request.get("quit"):
            self._ledger.quit()

    def _interrupt(self, key: str, grace_ms: int, signal: str = "") -> None:
        self._commander.interrupt(key, grace_ms, signal)
        self._keeper.interrupt(key, grace_ms, signal)
        self._caller.interrupt(key)

    def _look(self) -> None:
        running = self._ledger.running
        if running is not None:
            self._fences.look(running["key"], is_call=running["key"] == self._call)

    def _order(self, order: Message) -> None:
        if "ack" in order:
            self._ledger.acknowledge_seat(order["key"], int(order["ack"]))
        elif not self._keeper.order(order):
            refusal = {"command": order.get("number", 0), "reason": "UNKNOWN_SEAT", "message": "it has ended"}
            self._ledger.tell_of_seat(order["key"], {"refusal": refusal})

    def _modify(self, change: Message) -> None:
        key, revision = change["key"], int(change.get("revision", 0))
        if change.get("has_attachments"):
            self._attach(key, revision, change)
            return
        try:
            params = decode_params(change.get("params_json", "{}"))
        except BadCall as error:
            self._ledger.modified(key, revision, str(error))
            return
        if self._ledger.override(key, params):
            self._ledger.modified(key, revision, "")
        elif (problem := self._commander.modify(key, params, int(change.get("signal", 0)))) is not None:
            self._ledger.modified(key, revision, problem)
        elif not self._caller.modify(key, params, revision):
            self._ledger.modified(key, revision, "it is not running here", unknown=True)

    def _attach(self, key: str, revision: int, change: Message) -> None:
        """What is attached by now lies in its place already."""
        problem = self._commander.signal(key, int(change.get("signal", 0)))
        if problem is None:
            problem = self._caller.attach(key, change.get("attachments", {}))
        unknown = problem is None
        self._ledger.modified(
            key,
            revision,
            "it is not running here" if unknown else problem or "",
            unknown=unknown,
            attached=True,
        )


def run_worker(
    listener: socket.socket, log_fd: int, orphan_timeout_s: float = 3600.0, imports: Sequence[str] = ()
) -> int:
    """Turns this process into a worker; gives its exit code. ``log_fd`` gets what belongs to no work; ``imports`` are
    the modules that the process has imported so that programs can be forked with them."""
    faulthandler.enable(file=log_fd)
    adopt_orphans()
    renounce_privileges()
    offer_to_oom_killer()
    try:
        forker = Forker(imports, os.environ) if imports else None
        Harness(listener, log_fd, orphan_timeout_s, forker).run()
    except BaseException:
        # Descriptor 2 is the capture's by now, so the reason has to be written by hand.
        os.write(log_fd, traceback.format_exc().encode())
        return 1
    end_children()
    return 0
