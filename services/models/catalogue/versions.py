"""What the catalogue knows, from memory: the seam to frames and calls, and what versions are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.models.catalogue import access
from services.models.catalogue.engine import Engine
from services.models.catalogue.machine import missing_version, not_ready
from services.models.catalogue.model import CHAMPION, Role
from services.models.catalogue.state import Live, Model
from services.models.seams import Served, VersionKey

NUMBER_DIGITS = 15


class Catalogue:
    """`services.models.seams.Versions`, and the same for the servicer. Reads; changes nothing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.loaded_on: Callable[[str, int], Sequence[str]] = _nowhere
        """On which nodes a version is loaded."""
        self.named_by: Callable[[str, int], Sequence[str]] = _nowhere
        """Which deployments name a version."""

    def served(self, model: str, version: str = "") -> Served:
        found = self.model(model)
        live = self.find(found, version)
        serving = live.serving
        if serving is None or serving.config is None:
            raise not_ready(live.version, "version")
        one = live.version
        return Served(
            key=VersionKey(model, one.version, serving.revision), account=one.account, config=serving.config,
            files=one.files, golden_digest=serving.golden_digest, golden_example=serving.golden_example,
            may_unpickle=self._engine.state.may_unpickle(one), trusted_types=self._engine.state.trusted_types(one),
            image=serving.image,
        )  # fmt: skip

    def may(self, account: str, model: str, role: str) -> bool:
        found = self._engine.state.models.get(model)
        return found is not None and access.may(account, found, Role(role))

    def models(self, account: str) -> Sequence[str]:
        state = self._engine.state
        return [name for name, one in sorted(state.models.items()) if access.may(account, one, Role.CALLER)]

    def model(self, name: str) -> Model:
        """Raises ModelNotFound."""
        found = self._engine.state.models.get(name)
        if found is None:
            raise access.missing_model(name)
        return found

    def find(self, model: Model, version: str) -> Live:
        """By number or alias; empty: the alias champion, else the latest that is READY, else the latest.

        Raises ModelVersionNotFound.
        """
        versions = self._engine.state.versions.get(model.name, {})
        number = model.aliases.get(version or CHAMPION)
        if number is None and is_number(version):
            number = int(version)
        if number is None and not version:
            ready = [one for one, live in versions.items() if live.serving is not None]
            number = max(ready or versions, default=None)
        live = versions.get(number) if number is not None else None
        if live is None:
            raise missing_version(model.name, version or "of its own")
        return live

    def latest(self, model: str) -> int:
        """Its highest version that is there; 0: none."""
        return max(self._engine.state.versions.get(model, {}), default=0)


def is_number(text: str) -> bool:
    """Whether a text names a version by its number."""
    return text.isascii() and text.isdecimal() and len(text) <= NUMBER_DIGITS


def _nowhere(model: str, version: int) -> Sequence[str]:
    return ()
