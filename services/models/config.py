"""What the models service can be told. Read once; see chassis.config for where values come from."""

from dataclasses import dataclass
from pathlib import Path

from services.chassis.process.config import AuditedConfig, ConfigInvalid, option
from services.models.surroundings.association import RuntimeMap, read_images
from services.models.trust.words import Trust, read_trust


@dataclass(frozen=True, kw_only=True)
class ModelsConfig(AuditedConfig):
    """The models service takes trained files to answered calls."""

    port: int = option(7074, "TCP port to listen on; 0 takes any free one")
    scheduler: str = option(
        "127.0.0.1:7070", "host:port of the scheduler, which knows tokens and gives places"
    )
    store: str = option("127.0.0.1:7071", "host:port of the store, which keeps components")
    graph: str = option("", "host:port of the graph service, which knows runs; empty: they are believed")
    trainer: str = option("", "host:port of the trainer, which knows jobs; empty: they are believed")
    endpoint: str = option(
        "", "where agents find the service: host:port; empty: on the scheduler's host, at this port"
    )
    frame_memory: str = option(
        "", "memory that all loaded models may hold together, for example 16Gi; empty: what the nodes have"
    )
    trust: str = option(
        "",
        "whose pickles and .pt2 may be opened in frames, with commas: ACCOUNT, ACCOUNT/MODEL or sha256:DIGEST; "
        "WHO=TYPE+TYPE: only these types of skops, where WHO may be * as well; none: no pickle is",
    )
    trust_file: str = option(
        "",
        "more words of trust, on lines; read again when it changes; empty: models/trust in the state directory",
    )
    images: str = option(
        "",
        "images of containers before python:VERSION-slim: IMAGE=WORD+WORD with commas, where a word is a version of "
        "Python, gpu, or a package of Debian's that is in it; {python} in IMAGE is the version",
    )

    @property
    def home(self) -> Path:
        """The service's room in the state directory."""
        return self.state_dir / "models"

    @property
    def trust_path(self) -> Path:
        """Where the list lies that is read again."""
        return Path(self.trust_file) if self.trust_file else self.home / "trust"

    @property
    def runtimes(self) -> RuntimeMap:
        """How runtimes are mapped. Raises ConfigInvalid."""
        try:
            return RuntimeMap(images=read_images(self.images))
        except ValueError as error:
            raise ConfigInvalid(f"images: {error}") from None

    @property
    def trusted(self) -> Trust:
        """Whose components may do what. Raises ConfigInvalid."""
        try:
            return read_trust(self.trust)
        except ValueError as error:
            raise ConfigInvalid(f"trust: {error}") from None
