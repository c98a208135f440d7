"""What the store can be told. Read once; see chassis.config for where values come from."""

from dataclasses import dataclass
from pathlib import Path

from services.chassis.process.config import AuditedConfig, option
from services.store.model import Limits


@dataclass(frozen=True, kw_only=True)
class StoreConfig(AuditedConfig):
    """The store keeps artefacts: bytes by their sha256."""

    port: int = option(7071, "TCP port to listen on; 0 takes any free one")
    blobs_url: str = option("", "directory or fsspec URL (s3://…) of the bytes; empty: <state>/store/blobs")
    quota_bytes: int = option(0, "bytes that one account may store; 0: no quota")
    free_space_floor_bytes: int = option(256 << 20, "bytes that uploads leave free on the disk")
    collect_grace_s: float = option(7 * 86_400.0, "seconds that an artefact without a reference is kept")
    scheduler: str = option("127.0.0.1:7070", "host:port of the scheduler, which knows the tokens")

    @property
    def home(self) -> Path:
        """The store's room in the state directory."""
        return self.state_dir / "store"

    @property
    def limits(self) -> Limits:
        """What the engine has to know."""
        return Limits(
            quota_bytes=self.quota_bytes,
            free_space_floor_bytes=self.free_space_floor_bytes,
            collect_grace_s=self.collect_grace_s,
        )
