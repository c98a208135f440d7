"""The models service as the chassis runs it: what is opened in which order, and closed again."""

from collections.abc import Mapping, Sequence

import grpc.aio

from modelyard.channel import CALL_BYTES_MOST
from modelyard.v1 import model_pb2, model_pb2_grpc
from services.chassis.access.remote import RemoteAuthenticator
from services.chassis.clock import SystemClock
from services.chassis.errors import InvariantViolation
from services.chassis.failpoints import failpoint
from services.chassis.metrics.figures import Family, gauge
from services.chassis.peers.cancellations import Cancellations
from services.chassis.peers.contacts import Contacts
from services.chassis.peers.outward import Outward, authority_file, yard_key
from services.chassis.peers.references import References
from services.chassis.process.supervise import Loops
from services.chassis.requests.answers import Answers, repeatable
from services.chassis.rpc.lineage import add_lineage
from services.chassis.rpc.server import Limits
from services.chassis.security import Authenticator
from services.chassis.steps.errands import Carrier, Errands
from services.chassis.storage.sqlite import Database, load_migrations, load_queries
from services.models.calls import notices
from services.models.calls.calls import Calls
from services.models.calls.figures import figures
from services.models.calls.telling import Telling
from services.models.catalogue.departed import DepartedAccounts
from services.models.catalogue.describing import Describing
from services.models.catalogue.engine import Engine
from services.models.catalogue.origins import Origins
from services.models.catalogue.owing import Kind, tasks_of
from services.models.catalogue.store import CatalogueStore
from services.models.catalogue.supplies import Supplies
from services.models.catalogue.usage import Usage
from services.models.catalogue.versions import Catalogue
from services.models.config import ModelsConfig
from services.models.frames.room import FramesRoom
from services.models.lineage import ModelLineage
from services.models.rules import RULES
from services.models.servicer.deployments import DeploymentServicer
from services.models.servicer.deployments import add_to_server as add_deployments
from services.models.servicer.explaining import Explaining
from services.models.servicer.inference import InferenceServicer, add_to_server
from services.models.servicer.models import ModelServicer
from services.models.servicer.quotas import ModelQuotaServicer
from services.models.trust.file import TrustFile
from services.models.trust.words import Trust

PACKAGE = "services.models"
LOAD_S = 3_600.0
"""So long a load may be waited for: an environment may have to be made."""


class ModelsService:
    """One models service on one state directory."""

    name = "models"
    rules = RULES
    # A call may have to wait for its model to be loaded, and tensors travel whole.
    limits = Limits(
        message_bytes_most=CALL_BYTES_MOST,
        long_calls={
            "/inference.GRPCInferenceService/ModelInfer": LOAD_S,
            "/inference.GRPCInferenceService/RepositoryModelLoad": LOAD_S,
            "/modelyard.v1.DeploymentService/LoadModel": LOAD_S,
        },
    )

    def __init__(self, config: ModelsConfig, loops: Loops) -> None:
        self._config = config
        self._loops = loops
        self._clock = SystemClock()
        self._database: Database | None = None
        self._outward: Outward | None = None
        self._scheduler: grpc.aio.Channel | None = None
        self._tokens: RemoteAuthenticator | None = None
        self._calls: Calls | None = None
        self._supplies: Supplies | None = None

    async def open(self) -> None:
        """Opens the tables and the ways to scheduler and store. Raises StartRefused leaves."""
        config = self._config
        self._outward = Outward(config.state_dir, is_tls=config.tls)
        self._database = await Database.open(config.home / "models.db", load_migrations(PACKAGE))
        sql = load_queries(PACKAGE)
        self._scheduler = self._outward.connect(config.scheduler)
        news = self._outward.connect(config.scheduler, is_apart=True)
        self._tokens = RemoteAuthenticator(self._scheduler, news=news)
        self._loops.start("revocations", self._tokens.follow())
        self._store = self._outward.connect(config.store)
        self._graph = self._outward.connect(config.graph) if config.graph else None
        self._trainer = self._outward.connect(config.trainer) if config.trainer else None
        self._answers = Answers(
            self._database, sql, self._clock.now_ms, yard_key(config.state_dir, "models.answers.key")
        )
        self._errands = Errands(
            self._database, sql, self._clock, before=lambda: failpoint("models.before_errand"),
            after=lambda: failpoint("models.after_errand"),
        )  # fmt: skip
        # Before anything steps: errands have their numbers from what is on disk.
        await self._errands.open()
        await self._open_catalogue({**sql, **load_queries(f"{PACKAGE}.catalogue")})
        await self._open_frames(self._database, self._scheduler)
        self._notices = notices.Notices(Contacts(self._scheduler), self._store, self._database, self._errands)
        carriers: dict[str, Carrier] = {
            Kind.CANCELLATION: Cancellations(self._scheduler, tasks_of, "its version needs it no more"),
            Kind.REFERENCES: References(self._store),
            notices.KIND: self._notices,
        }
        self._loops.start("errands", self._errands.run(carriers))
        self._loops.start("answers", self._answers.run(self._clock))

    async def _open_catalogue(self, sql: Mapping[str, str]) -> None:
        if self._database is None or self._scheduler is None or self._tokens is None:
            raise InvariantViolation("the models service is not open")
        self._supplies = supplies = Supplies(self._store, self._clock)
        await supplies.open(self._config.home)
        store = CatalogueStore(self._database, sql)
        self._engine = Engine(store, self._scheduler, supplies, self._errands, self._clock, self._loops)
        self._runtimes = self._config.runtimes
        self._trust = TrustFile(
            self._config.trust_path, self._config.trusted, self._clock, self._trust_changed
        )
        self._trust.look()
        await self._engine.open(self._trust.trusted, self._runtimes)
        self._catalogue = Catalogue(self._engine)
        self._usage = Usage(self._database, sql)
        self._describing = Describing(supplies, self._scheduler)
        self._loops.start("catalogue", self._engine.run())
        departed = DepartedAccounts(self._engine, self._scheduler, self._clock)
        self._tokens.subscribe(departed.look)
        departed.look()
        self._loops.start("departed-accounts", departed.run())

    async def _open_frames(self, database: Database, scheduler: grpc.aio.Channel) -> None:
        """After the catalogue: frames are of its versions."""
        config = self._config
        self._frames = FramesRoom(
            database, scheduler, self._catalogue, self._clock, self._loops, state_dir=config.state_dir,
            endpoint=config.endpoint or f":{config.port}", memory=config.frame_memory, store=self._store,
            runtimes=self._runtimes,
        )  # fmt: skip
        self._catalogue.loaded_on, self._catalogue.named_by = self._frames.loaded_on, self._frames.named_by
        self._calls = Calls(
            self._catalogue, self._frames.source, self._clock,
            authority_file(config.state_dir, is_tls=config.tls),
        )  # fmt: skip
        self._calls.flights.quotas = self._engine.state.quotas
        await self._frames.open(self._calls)
        self._loops.start("trust", self._trust.run())
        self._loops.start("usage", self._calls.uses.run(self._usage.add, self._clock))

    def _trust_changed(self, trusted: Trust) -> None:
        """For what is looked at, tried or loaded from now on; what is loaded stays."""
        self._engine.state.trusted = trusted
        if self._calls is not None:
            self._frames.engine.known.refresh()

    async def figures(self) -> list[Family]:
        """For whoever scrapes."""
        if self._database is None:
            return []
        return [
            gauge("yard_models_known", "Models of all accounts.", len(self._engine.state.models)),
            gauge("yard_models_proving", "Inspections and probes under way.", self._engine.under_way),
            gauge("yard_models_loaded", "Frames that take calls.", self._frames.engine.loaded_count),
            gauge(
                "yard_models_trust_refused",
                "The list of trust is wrong: the one before counts.",
                int(bool(self._trust.refusal)),
            ),
            gauge("yard_models_errands_owed", "What is still owed to other services.", self._errands.owed),
            *(figures(self._calls) if self._calls is not None else ()),
        ]

    def authenticator(self) -> Authenticator:
        """Tokens are the scheduler's: see RemoteAuthenticator."""
        if self._tokens is None:
            raise InvariantViolation("the models service is not open")
        return self._tokens

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        """Adds the services of the catalogue, of deployments and seats, of calls and of lineage."""
        if self._scheduler is None or self._calls is None:
            raise InvariantViolation("the models service is not open")
        file = model_pb2.DESCRIPTOR
        models = ModelServicer(
            self._engine, self._catalogue, self._usage, self._answers, self._clock, self._store,
            Origins(self._scheduler, self._graph, self._trainer), self._describing,
        )  # fmt: skip
        model_pb2_grpc.add_ModelServiceServicer_to_server(repeatable(models, file, self._answers), server)
        quotas = ModelQuotaServicer(self._engine, self._calls.flights, self._answers, self._scheduler)
        model_pb2_grpc.add_ModelQuotaServiceServicer_to_server(
            repeatable(quotas, file, self._answers), server
        )
        telling = Telling(self._calls, self._notices, self._clock)
        return [
            *(file.services_by_name[name].full_name for name in ("ModelService", "ModelQuotaService")),
            self._frames.register(server),
            add_deployments(self._deployments(self._scheduler), self._answers, server),
            add_to_server(InferenceServicer(self._calls, telling), server),
            add_lineage(server, self._lineage(self._calls).sources()),
        ]

    def _deployments(self, scheduler: grpc.aio.Channel) -> DeploymentServicer:
        engine, source = self._frames.engine, self._frames.source
        explaining = Explaining(engine, source, scheduler, self._clock)
        return DeploymentServicer(engine, source, self._catalogue, explaining, self._answers, self._clock)

    def _lineage(self, calls: Calls) -> ModelLineage:
        """What is known of versions, with the calls of a moment ago."""
        return ModelLineage(
            self._engine, self._catalogue, self._usage, self._frames,
            counted=lambda: calls.uses.keep(self._usage.add),
        )  # fmt: skip

    async def drain(self) -> None:
        """Nothing to do: watchers come again, what is under way goes on where it was."""

    async def close(self) -> None:
        """Closes everything that is open; frames live on."""
        if self._calls is not None:
            await self._calls.stop()
            if self._database is not None:
                await self._calls.uses.keep(self._usage.add)
        if self._supplies is not None:
            await self._supplies.close()
        if self._outward is not None:
            await self._outward.close()
        if self._database is not None:
            await self._database.close()
