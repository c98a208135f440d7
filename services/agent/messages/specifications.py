"""The specifications that tasks of this machine refer to, numbered, in memory and on disk.

A work key names its specification by number; so an agent that was killed knows again what its
workers run. Appended without fsync: the file has to outlive the process, not the machine.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import msgspec

from services.agent.messages.decode import decode_body
from services.agent.tasks.model import Body

_LENGTH = struct.Struct(">I")
COMPACT_BYTES = 4 * 1024 * 1024
LOST_MOST = 1_000_000
"""Numbers that may have been given by records that a failure of the power took: none of them is given again."""


class Record(msgspec.Struct, array_like=True):
    """One specification as it stands in the file."""

    number: int
    account: str
    spec: bytes


class Specifications:
    """Numbers grow for ever; a specification that comes again is found by its content."""

    def __init__(self, path: Path, task_pids: int = 0) -> None:
        """Reads the file; what was cut off by a kill is dropped."""
        self._path = path
        self._task_pids = task_pids
        self._bodies: dict[int, Body] = {}
        self._records: dict[int, Record] = {}
        self._numbers: dict[tuple[str, bytes], int] = {}
        self._last = 0
        self._unsaved: list[bytes] = []
        records, is_whole = _read(path)
        for record in records:
            self._remember(record)
        if not is_whole:
            self._last += LOST_MOST
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._rewrite(self._records.values())

    def add(self, account: str, spec: bytes) -> Body:
        """The body of a specification. Raises protobuf's DecodeError; call `save` before it is used."""
        number = self._numbers.get((account, spec))
        if number is not None:
            return self.body(number)
        body = decode_body(self._last + 1, account, spec, self._task_pids)
        record = Record(self._last + 1, account, spec)
        self._remember(record)
        self._bodies[record.number] = body
        self._unsaved.append(_frame(record))
        return body

    def body(self, number: int) -> Body:
        """A body by its number. Raises KeyError."""
        body = self._bodies.get(number)
        if body is None:
            record = self._records[number]
            body = decode_body(number, record.account, record.spec, self._task_pids)
            self._bodies[number] = body
        return body

    def save(self) -> None:
        """Appends what is new to the file."""
        if self._unsaved:
            os.write(self._file, b"".join(self._unsaved))
            self._unsaved.clear()

    def __len__(self) -> int:
        return len(self._records)

    def compact(self, used: set[int]) -> None:
        """Forgets specifications that nothing refers to, once the file is large."""
        if os.fstat(self._file).st_size < COMPACT_BYTES:
            return
        kept = [record for number, record in self._records.items() if number in used]
        self._records.clear()
        self._numbers.clear()
        self._bodies = {number: body for number, body in self._bodies.items() if number in used}
        for record in kept:
            self._remember(record)
        self._rewrite(kept)

    def close(self) -> None:
        """Releases the file."""
        os.close(self._file)

    def _remember(self, record: Record) -> None:
        self._records[record.number] = record
        self._numbers[(record.account, record.spec)] = record.number
        self._last = max(self._last, record.number)

    def _rewrite(self, records: Iterable[Record]) -> None:
        draft = self._path.with_name(self._path.name + ".new")
        # The last number is kept even if nothing refers to it: numbers are never given twice.
        draft.write_bytes(_frame(Record(self._last, "", b"")) + b"".join(map(_frame, records)))
        draft.replace(self._path)
        os.close(self._file)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)


def _frame(record: Record) -> bytes:
    body = msgspec.msgpack.encode(record)
    return _LENGTH.pack(len(body)) + body


def _read(path: Path) -> tuple[list[Record], bool]:
    """What the file holds up to its end, or to where a failure of the power has cut it; whether it is whole."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], True
    records: list[Record] = []
    position = 0
    while position + 4 <= len(content):
        (size,) = _LENGTH.unpack_from(content, position)
        frame = content[position + 4 : position + 4 + size]
        try:
            records.append(msgspec.msgpack.decode(frame, type=Record))
        except msgspec.DecodeError:
            return records, False
        position += 4 + size
    return records, position == len(content)
