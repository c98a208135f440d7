"""Members of archives, within bounds."""

from __future__ import annotations

import zipfile
import zlib

from modelyard.inspection.detection import ComponentUnknown

BAD_MEMBER = (KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, EOFError)
"""What reading one raises that is damaged, sealed, packed in a strange way, or not there."""


def member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Its bytes. Raises ComponentUnknown where there is none, or it is larger than `most`, whatever its header says."""
    try:
        with archive.open(name) as opened:
            found = opened.read(most + 1)
    except BAD_MEMBER as error:
        raise ComponentUnknown(f"the archive has no readable {name}: {error}") from None
    if len(found) > most:
        raise ComponentUnknown(f"{name} in the archive has more than {most} bytes")
    return found
