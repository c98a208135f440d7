"""Whole lines out of chunks, epochs out of offsets: what the log of a job is made of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.v1 import job_pb2, task_pb2
from services.trainer.logs.epochs import Epochs
from services.trainer.logs.streams import LINE_BYTES, Lines

TEXTS = st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\x00", b"\n")), max_size=20)


def chunk(data: bytes, offset: int, *, epoch: int = 1, stream: int = 1) -> job_pb2.StreamJobLogsResponse:
    return job_pb2.StreamJobLogsResponse(
        role="worker",
        index=2,
        epoch=epoch,
        stream=stream,  # type: ignore[arg-type]
        offset=offset,
        data=data,
    )


@given(TEXTS)
def test_lines_in_any_chunks_come_whole_and_no_byte_is_lost(texts: list[bytes]) -> None:
    # S3.10
    lines, told, offset = Lines(), list[job_pb2.StreamJobLogsResponse](), 0
    for text in texts:
        told += lines.take(chunk(text, offset))
        offset += len(text)
    whole = len(told)
    told += lines.rest()
    assert all(one.data[-1:] in (b"\n", b"\r") for one in told[:whole])
    assert b"".join(one.data for one in told) == b"".join(texts)
    assert [one.offset for one in told] == [sum(len(one.data) for one in told[:n]) for n in range(len(told))]
    assert all((one.role, one.index) == ("worker", 2) for one in told)


def test_line_that_never_ends_is_broken_and_streams_are_held_apart() -> None:
    lines = Lines()
    assert lines.take(chunk(b"half", 0)) == [] and lines.take(chunk(b"other", 0, stream=2)) == []
    (long,) = lines.take(chunk(b"x" * LINE_BYTES, 4))
    assert (long.offset, len(long.data)) == (0, LINE_BYTES + 4)
    assert [one.data for one in lines.rest()] == [b"other"]


def test_rest_of_an_epoch_is_a_line_of_its_own() -> None:
    lines = Lines()
    lines.take(chunk(b"died here", 0))
    old, new = lines.take(chunk(b"again\n", 9, epoch=2))
    assert (old.epoch, old.data, new.epoch, new.data) == (1, b"died here", 2, b"again\n")


class Known(Epochs):
    """With what an agent has told already."""

    def __init__(self, launches: list[tuple[int, tuple[int, int]]]) -> None:
        self._launches = launches

    async def _learned(self) -> list[tuple[int, tuple[int, int]]]:
        return self._launches


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("offset", "data", "found"),
    [
        (0, b"abcdef", [(1, 0, b"abc"), (2, 3, b"def")]),
        (3, b"def", [(2, 3, b"def")]),
        (0, b"abc", [(1, 0, b"abc")]),
        (0, b"abcdefghij", [(1, 0, b"abc"), (2, 3, b"defgh"), (4, 8, b"ij")]),
        (9, b"k", [(4, 9, b"k")]),
    ],
)
async def test_bytes_belong_to_the_epoch_that_had_begun(
    offset: int, data: bytes, found: list[tuple[int, int, bytes]]
) -> None:
    epochs = Known([(1, (0, 0)), (2, (3, 5)), (4, (8, 5))])
    part = task_pb2.StreamLogsResponse(stream=task_pb2.LOG_STREAM_STDOUT, offset=offset, data=data)
    assert [(epoch, one.offset, one.data) for epoch, one in await epochs.cut(part)] == found


@pytest.mark.asyncio
async def test_epoch_without_output_leaves_nothing() -> None:
    epochs = Known([(1, (0, 0)), (2, (3, 5)), (4, (8, 5))])
    part = task_pb2.StreamLogsResponse(stream=task_pb2.LOG_STREAM_STDERR, offset=0, data=b"abcdefg")
    assert [(epoch, one.data) for epoch, one in await epochs.cut(part)] == [(1, b"abcde"), (4, b"fg")]
