"""Inputs that come by digest: fetched once, kept as files below inputs/."""

from __future__ import annotations

from pathlib import Path

from services.agent.artifacts import Artifacts


class Inputs:
    """The file cache. Who may have which artefact is the store's word, asked for every account once."""

    def __init__(self, directory: Path, artifacts: Artifacts) -> None:
        self._directory = directory
        self._artifacts = artifacts

    def path(self, digest: str) -> Path:
        """Where the bytes are once they were fetched."""
        return self._directory / digest

    async def fetch(self, digest: str, account: str) -> None:
        """Makes the file exist. Raises TransferFailed. Idempotent."""
        path = self.path(digest)
        if path.exists():
            await self._artifacts.check(digest, account)
            path.touch()
        else:
            await self._artifacts.fetch(digest, account, path)
            path.chmod(0o444)
