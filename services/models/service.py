"""The models service as the chassis runs it: what is opened in which order, and closed again."""

from collections.abc import Sequence

import grpc.aio

from modelyard.v1 import model_pb2, model_pb2_grpc
from services.chassis.answers import Answers, repeatable
from services.chassis.clock import SystemClock
from services.chassis.errands import Carrier, Errands
from services.chassis.errors import InvariantViolation
from services.chassis.failpoints import failpoint
from services.chassis.figures import Family, gauge
from services.chassis.outward import Outward, yard_key
from services.chassis.peers import RemoteAuthenticator
from services.chassis.security import Authenticator
from services.chassis.sqlite import Database, load_migrations, load_queries
from services.chassis.supervise import Loops
from services.models.config import ModelsConfig
from services.models.rules import RULES
from services.models.servicer.models import ModelServicer

PACKAGE = "services.models"


class ModelsService:
    """One models service on one state directory."""

    name = "models"
    rules = RULES

    def __init__(self, config: ModelsConfig, loops: Loops) -> None:
        self._config = config
        self._loops = loops
        self._clock = SystemClock()
        self._database: Database | None = None
        self._outward: Outward | None = None
        self._scheduler: grpc.aio.Channel | None = None

    async def open(self) -> None:
        """Opens the tables and the ways to scheduler and store. Raises StartRefused leaves."""
        config = self._config
        self._outward = Outward(config.state_dir, is_tls=config.tls)
        self._database = await Database.open(config.home / "models.db", load_migrations(PACKAGE))
        sql = load_queries(PACKAGE)
        self._scheduler = self._outward.connect(config.scheduler)
        self._store = self._outward.connect(config.store)
        self._answers = Answers(
            self._database, sql, self._clock.now_ms, yard_key(config.state_dir, "models.answers.key")
        )
        self._errands = Errands(
            self._database, sql, self._clock, before=lambda: failpoint("models.before_errand"),
            after=lambda: failpoint("models.after_errand"),
        )  # fmt: skip
        await self._errands.open()
        carriers: dict[str, Carrier] = {}
        self._loops.start("errands", self._errands.run(carriers))
        self._loops.start("answers", self._answers.run(self._clock))

    async def figures(self) -> list[Family]:
        """For whoever scrapes."""
        if self._database is None:
            return []
        return [
            gauge("yard_models_errands_owed", "What is still owed to other services.", self._errands.owed),
        ]

    def authenticator(self) -> Authenticator:
        """Tokens are the scheduler's: see RemoteAuthenticator."""
        if self._scheduler is None:
            raise InvariantViolation("the models service is not open")
        return RemoteAuthenticator(self._scheduler)

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        """Adds ModelService."""
        file = model_pb2.DESCRIPTOR
        models = ModelServicer()  # type: ignore[abstract]
        model_pb2_grpc.add_ModelServiceServicer_to_server(repeatable(models, file, self._answers), server)
        return [file.services_by_name["ModelService"].full_name]

    async def drain(self) -> None:
        """Nothing to do: watchers come again, what is under way goes on where it was."""

    async def close(self) -> None:
        """Closes everything that is open."""
        if self._outward is not None:
            await self._outward.close()
        if self._database is not None:
            await self._database.close()
