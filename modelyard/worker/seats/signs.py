"""What is watched for on behalf of others while the processes of a seat run: lines, ports, paths, files, progress.

Owns what has been seen of one launch. Runs on the main thread: a pattern that takes too long is interrupted by a
signal, and dropped.
"""

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelyard.worker.frames import Message
from modelyard.worker.seats.ports import listening
from modelyard.worker.seats.probes import Probe
from modelyard.worker.seats.progress import progress_of
from modelyard.worker.seats.tails import Tail

# A pattern that needs longer than this for one look at a log would need for ever.
_PATTERN_S = 0.5
_SOON_S, _EAGER_TICK_S, _TICK_S, _PROGRESS_TICK_S = 30.0, 0.02, 0.1, 0.2
# A search for files takes at most this part of the time.
_SEARCH_SHARE = 0.05

Tell = Callable[[Message], None]


class Overdue(Exception):
    """A pattern takes too long."""


class Signs:
    """Of one launch. ``tell`` gets events as SeatEvent has them, without task and epoch."""

    def __init__(
        self, launch: Message, directory: str, ports: dict[str, int], tails: list[Tail], ip: str, tell: Tell
    ) -> None:
        """Patterns that cannot be compiled are told as refusals."""
        self._directory = Path(directory)
        self._tails = tails
        self._tell = tell
        self.seen: list[int] = []
        self._listening: dict[int, int] = {}
        self._files: dict[int, str] = {}
        # Looked for once nothing runs any more.
        self._filled: dict[int, str] = {}
        self._probes: dict[int, Probe] = {}
        self._lines: dict[int, re.Pattern[str]] = {}
        self._progress: list[re.Pattern[str]] = []
        self._reports: list[Tail] = []
        self._since = time.monotonic()
        self._search_at = 0.0
        for sign in launch.get("signs", ()):
            self._watch(int(sign.get("id", 0)), sign, ports, ip)
        for pattern in launch.get("progress", ()):
            if is_below(pattern.get("file", "")):
                self._reports.append(Tail(f"{directory}/{pattern['file']}", 0))
            elif (compiled := self._compiled(pattern.get("log", ""))) is not None:
                self._progress.append(compiled)

    def tick_s(self) -> float | None:
        """Until the next look; None: there is nothing to look for."""
        if self._listening or self._files or self._lines or self._probes:
            return _EAGER_TICK_S if time.monotonic() - self._since < _SOON_S else _TICK_S
        return _PROGRESS_TICK_S if self._progress or self._reports else None

    def look(self, *, is_over: bool = False) -> None:
        """Tells what has come true since the last look; ``is_over``: nothing more will be written."""
        if self._listening:
            self._look_at_ports()
        if self._files and (is_over or time.monotonic() >= self._search_at):
            self._look_for_files()
        for sign, probe in list(self._probes.items()):
            if probe.answer:
                self._see(self._probes, sign, probe.answer)
        if self._lines or self._progress:
            self._look_at_lines(is_over=is_over)
        for report in self._reports:
            for line in report.lines(is_over=is_over):
                self._on_report(line)

    def finish(self) -> None:
        """The last look: nothing more will be written."""
        while (self._lines or self._progress) and any(tail.has_more for tail in self._tails):
            self.look()
        self.look(is_over=True)
        for sign, pattern in list(self._filled.items()):
            if found := filled_file(self._directory, pattern):
                self._see(self._filled, sign, found)
        self.close()

    def close(self) -> None:
        """Ends what looks by itself."""
        for probe in self._probes.values():
            probe.close()

    def _watch(self, number: int, sign: Message, ports: dict[str, int], ip: str) -> None:
        if "listening" in sign:
            if sign["listening"] in ports:
                self._listening[number] = ports[sign["listening"]]
            else:
                self._refuse(f"sign {number}: there is no port {sign['listening']!r}")
        elif "http" in sign:
            port, path = sign["http"].get("port", ""), sign["http"].get("path", "") or "/"
            if port in ports:
                self._probes[number] = Probe(ports[port], path, ip)
            else:
                self._refuse(f"sign {number}: there is no port {port!r}")
        elif "file" in sign:
            if is_below(sign["file"]):
                (self._filled if sign.get("is_filled") else self._files)[number] = sign["file"]
            else:
                self._refuse(f"sign {number}: {sign['file']!r} leaves the directory")
        elif (pattern := self._compiled(sign.get("log", ""))) is not None:
            self._lines[number] = pattern

    def _compiled(self, pattern: str) -> re.Pattern[str] | None:
        try:
            return re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            self._refuse(f"{pattern[:200]!r} is no regular expression: {error}")
            return None

    def _refuse(self, message: str) -> None:
        self._tell({"refusal": {"reason": "SIGN", "message": message}})

    def _see(self, where: dict[int, Any], number: int, detail: str) -> None:
        del where[number]
        self.seen.append(number)
        self._tell({"sign": {"id": number, "detail": detail[:4096]}})

    def _look_at_ports(self) -> None:
        open_ports = listening()
        for sign, port in list(self._listening.items()):
            if port in open_ports:
                self._see(self._listening, sign, str(port))

    def _look_for_files(self) -> None:
        began = time.monotonic()
        for sign, pattern in list(self._files.items()):
            found = self._file(pattern)
            if found:
                self._see(self._files, sign, found)
        now = time.monotonic()
        self._search_at = now + (now - began) / _SEARCH_SHARE

    def _file(self, pattern: str) -> str:
        try:
            found = next(iter(self._directory.glob(pattern)), None)
        except (OSError, ValueError):
            return ""
        return str(found.relative_to(self._directory)) if found is not None else ""

    def _look_at_lines(self, *, is_over: bool) -> None:
        for tail in self._tails:
            for line in tail.lines(is_over=is_over):
                for sign, pattern in list(self._lines.items()):
                    found = self._search(pattern, line)
                    if found is not None:
                        self._see(self._lines, sign, line)
                for pattern in list(self._progress):
                    found = self._search(pattern, line)
                    if found is not None:
                        self._report(found.groupdict())

    def _search(self, pattern: re.Pattern[str], line: str) -> re.Match[str] | None:
        try:
            with _limited():
                return pattern.search(line)
        except Overdue:
            self._drop(pattern)
            return None

    def _drop(self, pattern: re.Pattern[str]) -> None:
        self._lines = {sign: other for sign, other in self._lines.items() if other is not pattern}
        self._progress = [other for other in self._progress if other is not pattern]
        self._refuse(f"{pattern.pattern[:200]!r} takes too long for a line, and is not looked for any more")

    def _on_report(self, line: str) -> None:
        try:
            values = json.loads(line)
        except ValueError:
            return
        if isinstance(values, dict):
            self._report(values)

    def _report(self, values: dict[str, Any]) -> None:
        progress = progress_of(values)
        if progress is not None:
            self._tell({"progress": progress})


def filled_file(directory: Path, pattern: str) -> str:
    """A regular file below the directory that matches, or lies in a directory that does, and is not empty; "": none."""
    root = directory.resolve()
    try:
        for path in directory.glob(pattern):
            for file in path.rglob("*") if path.is_dir() else (path,):
                if file.is_file() and file.stat().st_size and file.resolve().is_relative_to(root):
                    return str(file.relative_to(directory))
    except (OSError, ValueError, NotImplementedError):
        return ""
    return ""


def is_below(path: str) -> bool:
    """Whether a path, or a glob, stays below the directory in which it is looked for."""
    return bool(path) and not path.startswith("/") and ".." not in path.split("/") and "\0" not in path


@contextmanager
def _limited() -> Iterator[None]:
    """Raises Overdue in what takes too long. Python looks for signals within a match, so that even one that would never
    end is interrupted."""

    def on_alarm(_number: int, _frame: object) -> None:
        raise Overdue

    previous = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, _PATTERN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)
