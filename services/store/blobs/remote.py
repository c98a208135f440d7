"""Blobs behind any fsspec URL, for example s3://bucket/yard.

Synchronous; `blobs.py` runs it in threads. Uploads are staged in a local directory, because bytes are checked
before they get a name. A remote file counts only once its row is committed, so a put that is cut short is
overwritten by the next one or swept. fsspec is loaded here and only when a URL is configured.
"""

import contextlib
import posixpath
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from services.chassis.errors import StartRefused
from services.store.blobs.directory import INCOMING, QUARANTINE, sweep
from services.store.blobs.failures import BlobsUnavailable, storage_errors

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Remote:
    """Blobs of an object store. `open` comes first."""

    def __init__(self, url: str, staging: Path) -> None:
        self._url = url
        self._incoming = staging / INCOMING
        self._system: Any = None
        self._root = ""

    def open(self) -> None:
        """Loads the URL's driver (StartRefused where it is missing) and sweeps the staging directory."""
        import fsspec

        try:
            self._system, self._root = fsspec.core.url_to_fs(self._url)
        except (ImportError, ValueError) as error:
            raise StartRefused(f"blobs_url {self._url} cannot be used: {error}") from error
        with storage_errors():
            self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
            sweep(self._incoming)
            self._system.makedirs(self._root, exist_ok=True)

    def incoming_path(self) -> Path:
        """A new name for a temporary file in the staging directory."""
        return self._incoming / f"{secrets.token_hex(16)}.part"

    def size(self, digest: str) -> int | None:
        """The bytes of the blob, None where it is not there."""
        self._system.invalidate_cache()
        with storage_errors(), contextlib.suppress(FileNotFoundError):
            return int(self._system.info(self._path(digest))["size"])
        return None

    def publish(self, staged: Path, digest: str) -> None:
        """Sends a checked file; as durable as the object store promises. Replaces what was there."""
        path = self._path(digest)
        with storage_errors():
            self._system.makedirs(posixpath.dirname(path), exist_ok=True)
            self._system.put_file(str(staged), path)
            staged.unlink()
        sent = self.size(digest)
        if sent is None:
            raise BlobsUnavailable("The object store did not keep what was sent.", next_step="Try again.")

    def read(self, digest: str) -> BinaryIO:
        """The blob for reading; raises FileNotFoundError."""
        with storage_errors():
            return cast(BinaryIO, self._system.open(self._path(digest), "rb"))

    def remove(self, digest: str) -> None:
        """Forgets the blob and its quarantined bytes. Idempotent."""
        for path in (self._path(digest), self._quarantine(digest)):
            with storage_errors(), contextlib.suppress(FileNotFoundError):
                self._system.rm_file(path)

    def quarantine(self, digest: str) -> None:
        """Puts the bytes aside, so that nobody gets them and an operator can look at them."""
        with storage_errors(), contextlib.suppress(FileNotFoundError):
            self._system.makedirs(posixpath.dirname(self._quarantine(digest)), exist_ok=True)
            self._system.mv(self._path(digest), self._quarantine(digest))

    def digests(self) -> Iterator[str]:
        """Every blob that is there."""
        self._system.invalidate_cache()
        with storage_errors():
            for path in self._system.find(self._root):
                name = posixpath.basename(path)
                if _DIGEST.fullmatch(name) and QUARANTINE not in path:
                    yield name

    def free_bytes(self) -> int | None:
        """Not known: an object store grows."""
        return None

    def _path(self, digest: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest}"

    def _quarantine(self, digest: str) -> str:
        return f"{self._root}/{QUARANTINE}/{digest}"
