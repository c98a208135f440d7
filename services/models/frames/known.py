"""What versions are, for who loads them: as they were when somebody asked for them, as long as they are there."""

from __future__ import annotations

from services.chassis.errors import ServiceError
from services.chassis.logs import get_logger
from services.models.seams import Served, VersionKey, Versions

_log = get_logger("models.frames")


class Known:
    """A revision that is served no longer is remembered while its frames answer; one that is deleted is not."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._served: dict[VersionKey, Served] = {}

    def note(self, served: Served) -> None:
        """Somebody wants it."""
        self._served[served.key] = served

    def of(self, key: VersionKey) -> Served | None:
        """None: it is not what serves any more."""
        known = self._served.get(key)
        if known is not None:
            return known
        try:
            found = self._versions.served(key.model, str(key.version))
        except ServiceError as error:
            _log.warning("version_lost", model=key.model, version=key.version, reason=error.reason)
            return None
        if found.key != key:
            return None
        self._served[key] = found
        return found

    def refresh(self) -> None:
        """What the server lets versions do has changed: whoever is started from now on is started by it."""
        for key in list(self._served):
            try:
                found = self._versions.served(key.model, str(key.version))
            except ServiceError:
                continue
            if found.key == key:
                self._served[key] = found

    def forget(self, key: VersionKey) -> None:
        """It was deleted."""
        self._served.pop(key, None)
