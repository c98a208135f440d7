"""What the graph service can be told. Read once; see chassis.config for where values come from."""

from dataclasses import dataclass
from pathlib import Path

from services.chassis.process.config import AuditedConfig, option


@dataclass(frozen=True, kw_only=True)
class GraphConfig(AuditedConfig):
    """The graph service keeps projects and runs their canvases over the agents."""

    port: int = option(7072, "TCP port to listen on; 0 takes any free one")
    scheduler: str = option(
        "127.0.0.1:7070", "host:port of the scheduler, which knows tokens, operators, agents"
    )
    store: str = option("127.0.0.1:7071", "host:port of the store, which has the artefacts")

    models: str = option(
        "", "host:port of the models service, for triggers that wait for models; empty: there is none"
    )
    webhook_port: int = option(0, "TCP port that takes webhooks over HTTP; 0: off")
    webhook_host: str = option("127.0.0.1", "address of webhooks; any but loopback needs --tls")
    webhook_url: str = option("", "under which address webhooks reach this port, if not its own")
    keep_ended_days: float = option(
        0.0, "days that ended runs and what they recorded are kept; 0: until somebody deletes them"
    )
    cache_bytes: int = option(256 << 20, "bytes of results that the cache keeps; the least used go first")

    @property
    def home(self) -> Path:
        """The service's room in the state directory."""
        return self.state_dir / "graph"
