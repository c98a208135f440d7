"""What the trainer can be told. Read once; see chassis.config for where values come from."""

from dataclasses import dataclass
from pathlib import Path

from services.chassis.process.config import AuditedConfig, option


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(AuditedConfig):
    """The trainer takes training jobs of any framework from their queue to their end."""

    port: int = option(7073, "TCP port to listen on; 0 takes any free one")
    scheduler: str = option(
        "127.0.0.1:7070", "host:port of the scheduler, which knows tokens and gives places"
    )
    store: str = option("127.0.0.1:7071", "host:port of the store, which keeps checkpoints and outputs")
    keep_ended_days: float = option(
        30.0, "days that ended jobs are kept which do not say how long themselves; 0: for ever"
    )
    endpoint: str = option(
        "", "where agents find the trainer: host:port; empty: on the scheduler's host, at this port"
    )

    @property
    def home(self) -> Path:
        """The service's room in the state directory."""
        return self.state_dir / "trainer"
