"""The graph service as the chassis runs it: what is opened in which order, and closed again."""

from collections.abc import Sequence

import grpc.aio

from modelyard.v1 import canvas_pb2, canvas_pb2_grpc, run_pb2, run_pb2_grpc, trigger_pb2, trigger_pb2_grpc
from services.chassis.access.remote import RemoteAuthenticator
from services.chassis.clock import SystemClock
from services.chassis.errors import InvariantViolation
from services.chassis.failpoints import failpoint
from services.chassis.metrics.figures import Family, gauge
from services.chassis.peers.contacts import Contacts
from services.chassis.peers.outward import Outward, yard_key
from services.chassis.process.supervise import Loops
from services.chassis.requests.answers import Answers, repeatable
from services.chassis.rpc.lineage import add_lineage
from services.chassis.security import Authenticator
from services.chassis.steps.errands import Carrier, Errands
from services.chassis.storage.sqlite import Database, load_migrations, load_queries
from services.graph.config import GraphConfig
from services.graph.engine import Engine
from services.graph.peers.carriers import Cancellations, References, Withdrawals
from services.graph.peers.catalogue import Catalogue
from services.graph.peers.patience import PatientStore
from services.graph.peers.peers import Artifacts, Scheduler
from services.graph.projects.holding import Holding
from services.graph.projects.library import Library
from services.graph.projects.starting import Starting
from services.graph.records.clearing import Clearing
from services.graph.records.owing import Kind, withdrawals
from services.graph.records.projects import Projects
from services.graph.records.store import RunStore
from services.graph.rules import RULES
from services.graph.servicer.projects import ProjectServicer
from services.graph.servicer.runs import RunServicer
from services.graph.servicer.triggers import TriggerServicer
from services.graph.telling.explaining import Explaining
from services.graph.telling.history import History
from services.graph.telling.lineage import RunLineage
from services.graph.telling.notices import Notices
from services.graph.telling.progress import Progress
from services.graph.triggers.deliveries import Deliveries
from services.graph.triggers.firing import Firings
from services.graph.triggers.listener import Listener, listener_of
from services.graph.triggers.owners import Owners
from services.graph.triggers.sealing import Sealing
from services.graph.triggers.store import TriggerStore
from services.graph.triggers.watching import Watching

PACKAGE = "services.graph"


class GraphService:
    """One graph service on one state directory."""

    name = "graph"
    rules = RULES

    def __init__(self, config: GraphConfig, loops: Loops) -> None:
        self._config = config
        self._loops = loops
        self._clock = SystemClock()
        self._database: Database | None = None
        self._outward: Outward | None = None
        self._scheduler: grpc.aio.Channel | None = None
        self._tokens: RemoteAuthenticator | None = None
        self._library: Library | None = None
        self._listener: Listener | None = None

    async def open(self) -> None:
        """Opens the tables and the way to the scheduler. Raises StartRefused leaves."""
        config = self._config
        self._outward = Outward(config.state_dir, is_tls=config.tls)
        self._database = await Database.open(config.home / "graph.db", load_migrations(PACKAGE))
        sql = load_queries(PACKAGE)
        self._scheduler = self._outward.connect(config.scheduler)
        news = self._outward.connect(config.scheduler, is_apart=True)
        self._tokens = RemoteAuthenticator(self._scheduler, news=news)
        self._loops.start("revocations", self._tokens.follow())
        self._catalogue = Catalogue(self._scheduler, self._clock)
        self._projects = Projects(self._database, sql)
        self._library = Library(self._projects, self._catalogue, self._clock)
        self._answers = Answers(
            self._database, sql, self._clock.now_ms, yard_key(config.state_dir, "graph.answers.key")
        )
        self._store = self._outward.connect(config.store)
        self._errands = Errands(
            self._database, sql, self._clock, before=lambda: failpoint("graph.before_errand"),
            after=lambda: failpoint("graph.after_errand"),
        )  # fmt: skip
        self._peer, artifacts = Scheduler(self._scheduler), Artifacts(self._store)
        self._contacts = Contacts(self._scheduler)
        self._engine = Engine(
            RunStore(self._database, sql), self._peer, PatientStore(artifacts, self._clock), self._errands,
            self._clock, self._loops, cache_bytes=config.cache_bytes,
        )  # fmt: skip
        await self._engine.open()
        await self._errands.open(lambda c: withdrawals(c, sql))
        self._clearing = Clearing(
            self._database, sql, self._engine.state, self._errands, self._clock, config.keep_ended_days
        )
        self._history = History(self._engine, self._projects, self._catalogue)
        carriers: dict[str, Carrier] = {
            Kind.NOTICE: Notices(self._contacts, self._engine.store, self._history, self._projects),
            Kind.REFERENCES: References(artifacts),
            Kind.CANCELLATION: Cancellations(self._peer),
            Kind.WITHDRAWAL: Withdrawals(self._peer),
        }
        await self._open_triggers(artifacts_channel=self._store)
        self._loops.start("errands", self._errands.run(carriers))
        self._loops.start("engine", self._engine.run())
        self._loops.start("progress", Progress(self._engine, self._scheduler, self._clock).run())
        self._loops.start("answers", self._answers.run(self._clock))
        self._loops.start("clearing", self._clearing.run())

    async def _open_triggers(self, artifacts_channel: grpc.aio.Channel) -> None:
        """What starts runs by itself."""
        config = self._config
        assert self._database is not None and self._library is not None and self._outward is not None
        assert self._scheduler is not None
        self._starting = Starting(self._projects, self._library, self._engine.store)
        self._firings = Firings(
            TriggerStore(self._database, load_queries(f"{PACKAGE}.triggers")), self._engine, self._projects,
            self._starting, Owners(self._scheduler, self._clock), self._clock,
        )  # fmt: skip
        models = self._outward.connect(config.models) if config.models else None
        self._watching = Watching(self._firings, artifacts_channel, models, self._clock)
        self._sealing = Sealing(yard_key(config.state_dir, "graph.triggers.key"))
        self._listener = listener_of(config, Deliveries(self._firings, self._sealing, self._clock))
        if self._listener is not None:
            await self._listener.open()
        self._loops.start("firings", self._firings.run())
        self._loops.start("firings-pruned", self._firings.prune())
        self._loops.start("watching", self._watching.run())

    async def figures(self) -> list[Family]:
        """For whoever scrapes."""
        if self._library is None:
            return []
        return [
            gauge("yard_graph_canvases_judged", "Canvases that were validated.", self._library.judged),
            gauge("yard_graph_canvases_spared", "Validations that were not needed.", self._library.spared),
            gauge("yard_graph_errands_owed", "What is still owed to other services.", self._errands.owed),
        ]

    def authenticator(self) -> Authenticator:
        """Tokens are the scheduler's: see RemoteAuthenticator."""
        if self._tokens is None:
            raise InvariantViolation("the graph service is not open")
        return self._tokens

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        """Adds ProjectService, RunService, TriggerService and LineageService."""
        if self._library is None:
            raise InvariantViolation("the graph service is not open")
        projects = ProjectServicer(
            self._projects,
            self._library,
            self._catalogue,
            self._answers,
            self._clock,
            Holding(self._errands),
            self._engine.store.is_in_use,
            self._clearing,
        )
        file = canvas_pb2.DESCRIPTOR
        canvas_pb2_grpc.add_ProjectServiceServicer_to_server(
            repeatable(projects, file, self._answers), server
        )
        assert self._scheduler is not None
        explaining = Explaining(
            self._projects, self._library, self._catalogue, self._engine.store, self._scheduler
        )
        runs = RunServicer(
            self._engine,
            self._projects,
            self._starting,
            self._history,
            self._answers,
            explaining,
            self._contacts,
            self._clearing,
        )
        run_file = run_pb2.DESCRIPTOR
        run_pb2_grpc.add_RunServiceServicer_to_server(repeatable(runs, run_file, self._answers), server)
        url = self._config.webhook_url or (self._listener.url if self._listener is not None else "")
        triggers = TriggerServicer(
            self._firings, self._watching, self._projects, self._engine, self._answers, self._sealing, self._clock,
            url.rstrip("/"),
        )  # fmt: skip
        trigger_file = trigger_pb2.DESCRIPTOR
        trigger_pb2_grpc.add_TriggerServiceServicer_to_server(
            repeatable(triggers, trigger_file, self._answers), server
        )
        names = [
            file.services_by_name["ProjectService"], run_file.services_by_name["RunService"],
            trigger_file.services_by_name["TriggerService"],
        ]  # fmt: skip
        lineage = RunLineage(self._engine, self._projects, self._history)
        return [*(name.full_name for name in names), add_lineage(server, lineage.sources())]

    async def drain(self) -> None:
        """Nothing to do: watchers come again, and a run goes on where it was."""

    async def close(self) -> None:
        """Closes everything that is open."""
        if self._listener is not None:
            await self._listener.close()
        if self._outward is not None:
            await self._outward.close()
        if self._database is not None:
            await self._database.close()
