"""What a disk or an object store raises, as errors that a caller understands. Translated once, here."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from services.chassis.errors import ResourceExhausted, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class BlobsFull(ResourceExhausted):
    """The storage of the artefacts is full."""


class BlobsReadOnly(Unavailable):
    """The storage of the artefacts does not let the store write."""


class BlobsUnavailable(Unavailable):
    """The storage of the artefacts does not answer."""


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turns an OSError into BlobsFull, BlobsReadOnly or BlobsUnavailable. A missing file passes as it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise translate(error) from error


def translate(error: OSError) -> ResourceExhausted | Unavailable:
    """The error to answer with; the storage is as it was before."""
    if error.errno in _FULL:
        return BlobsFull(next_step="Delete artefacts that are not needed, or give the store more room.")
    if error.errno in _READ_ONLY:
        return BlobsReadOnly(next_step="Let the store's user write to its blobs directory.")
    return BlobsUnavailable(
        f"The storage of the artefacts failed: {error.strerror or type(error).__name__}.",
        next_step="Try again; the log of the store has the details.",
    )
