"""The trainer as the chassis runs it: what is opened in which order, and closed again."""

from collections.abc import Sequence

import grpc.aio

from modelyard.v1 import (
    framework_pb2,
    framework_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    seat_pb2,
    seat_pb2_grpc,
    sweep_pb2,
    sweep_pb2_grpc,
)
from services.chassis.access.remote import RemoteAuthenticator
from services.chassis.clock import SystemClock
from services.chassis.errors import InvariantViolation
from services.chassis.failpoints import failpoint
from services.chassis.metrics.figures import Family, gauge
from services.chassis.peers.cancellations import Cancellations
from services.chassis.peers.contacts import Contacts
from services.chassis.peers.outward import Outward, yard_key
from services.chassis.peers.references import References
from services.chassis.process.supervise import Loops
from services.chassis.requests.answers import Answers, repeatable
from services.chassis.rpc.lineage import add_lineage
from services.chassis.security import Authenticator
from services.chassis.steps.errands import Carrier, Errands
from services.chassis.storage.sqlite import Database, load_migrations, load_queries
from services.trainer.config import TrainerConfig
from services.trainer.documents.frameworks import Frameworks
from services.trainer.documents.plans import Plans
from services.trainer.engine import Engine
from services.trainer.logs.source import LogSource
from services.trainer.logs.streams import JobLogs
from services.trainer.peers.links import links_of
from services.trainer.peers.making_room import MakingRoom
from services.trainer.plugins.functions import Functions
from services.trainer.plugins.host import Plugins
from services.trainer.records.clearing import Clearing
from services.trainer.records.log_index import LogIndex
from services.trainer.records.metrics import Metrics
from services.trainer.records.owing import Kind, tasks_of
from services.trainer.records.store import JobStore
from services.trainer.records.sweeps import SweepStore
from services.trainer.rules import RULES
from services.trainer.servicer.creation import Creation
from services.trainer.servicer.frameworks import FrameworkServicer
from services.trainer.servicer.jobs import JobServicer
from services.trainer.servicer.sweeps import SweepServicer
from services.trainer.telling.explaining import Explaining
from services.trainer.telling.jobs import Jobs
from services.trainer.telling.lineage import JobLineage
from services.trainer.telling.notices import Notices
from services.trainer.telling.reports import Reports
from services.trainer.telling.sweep_notices import SweepNotices
from services.trainer.telling.sweeps import Sweeps

PACKAGE = "services.trainer"


class TrainerService:
    """One trainer on one state directory."""

    name = "trainer"
    rules = RULES

    def __init__(self, config: TrainerConfig, loops: Loops) -> None:
        self._config = config
        self._loops = loops
        self._clock = SystemClock()
        self._database: Database | None = None
        self._outward: Outward | None = None
        self._plugins = Plugins()
        self._functions: Functions | None = None
        self._scheduler: grpc.aio.Channel | None = None
        self._tokens: RemoteAuthenticator | None = None
        self._log_channel: grpc.aio.Channel | None = None

    async def open(self) -> None:
        """Opens the tables and the way to the scheduler. Raises StartRefused leaves."""
        config = self._config
        self._outward = Outward(config.state_dir, is_tls=config.tls)
        self._database = await Database.open(config.home / "trainer.db", load_migrations(PACKAGE))
        sql = load_queries(PACKAGE)
        self._scheduler = self._outward.connect(config.scheduler)
        news = self._outward.connect(config.scheduler, is_apart=True)
        self._tokens = RemoteAuthenticator(self._scheduler, news=news)
        self._loops.start("revocations", self._tokens.follow())
        self._store = self._outward.connect(config.store)
        store = JobStore(self._database, sql)
        await self._plugins.open()
        self._frameworks = Frameworks(store, self._plugins)
        await self._frameworks.open()
        self._answers = Answers(
            self._database, sql, self._clock.now_ms, yard_key(config.state_dir, "trainer.answers.key")
        )
        self._errands = Errands(
            self._database, sql, self._clock, before=lambda: failpoint("trainer.before_errand"),
            after=lambda: failpoint("trainer.after_errand"),
        )  # fmt: skip
        endpoint = config.endpoint or f":{config.port}"
        self._engine = Engine(store, self._scheduler, self._errands, self._clock, self._loops, endpoint)
        self._plans = Plans(self._frameworks)
        self._jobs = Jobs(self._engine, self._plans)
        self._index = LogIndex(self._database, sql)
        # Hundreds of streams at a time: nothing else waits behind them.
        self._log_channel = self._outward.connect(config.scheduler, is_apart=True)
        self._metrics = Metrics(self._database, sql)
        self._links = links_of(self._engine, self._index, self._metrics)
        self._functions = Functions(self._engine, self._plugins)
        self._sweeps = Sweeps(self._engine, SweepStore(self._database, sql), self._plans)
        await self._engine.open(self._plans.of, await self._sweeps.taken())
        await self._errands.open()
        self._contacts = Contacts(self._scheduler)
        carriers: dict[str, Carrier] = {
            Kind.CANCELLATION: Cancellations(self._scheduler, tasks_of, "its job wants no place any more"),
            Kind.REFERENCES: References(self._store),
            Kind.NOTICE: Notices(self._contacts, self._jobs),
            Kind.SWEEP_NOTICE: SweepNotices(self._contacts, self._sweeps),
        }
        self._loops.start("errands", self._errands.run(carriers))
        self._loops.start("engine", self._engine.run())
        room = MakingRoom(self._engine, self._scheduler, self._clock)
        self._loops.start("making-room", room.run())
        self._loops.start("answers", self._answers.run(self._clock))
        clearing = Clearing(store, self._errands, self._clock, config.keep_ended_days)
        self._loops.start("clearing", clearing.run())

    async def figures(self) -> list[Family]:
        """For whoever scrapes."""
        if self._database is None:
            return []
        return [
            gauge("yard_trainer_jobs", "Jobs that have not ended.", self._engine.live_count),
            gauge("yard_trainer_sweeps", "Sweeps that have not ended.", self._engine.live_sweep_count),
            gauge("yard_trainer_errands_owed", "What is still owed to other services.", self._errands.owed),
        ]

    def authenticator(self) -> Authenticator:
        """Tokens are the scheduler's: see RemoteAuthenticator."""
        if self._tokens is None:
            raise InvariantViolation("the trainer is not open")
        return self._tokens

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        """Adds FrameworkService, JobService, SweepService, SeatService and LineageService."""
        if self._scheduler is None or self._log_channel is None:
            raise InvariantViolation("the trainer is not open")
        frameworks = FrameworkServicer(self._frameworks, self._plans, self._plugins, self._clock)
        file = framework_pb2.DESCRIPTOR
        framework_pb2_grpc.add_FrameworkServiceServicer_to_server(
            repeatable(frameworks, file, self._answers), server
        )
        explaining = Explaining(self._engine, self._scheduler, self._clock)
        logs = JobLogs(LogSource(self._engine, self._jobs, self._index, self._log_channel))
        reports = Reports(self._engine, self._jobs, self._metrics, self._answers, self._clock)
        creation = Creation(
            self._engine, self._jobs, self._plans, self._frameworks, self._answers, self._contacts
        )
        jobs = JobServicer(self._engine, self._jobs, creation, explaining, self._clock, logs, reports)
        job_file = job_pb2.DESCRIPTOR
        job_pb2_grpc.add_JobServiceServicer_to_server(repeatable(jobs, job_file, self._answers), server)
        sweeps = SweepServicer(
            self._engine,
            self._sweeps,
            self._plans,
            self._frameworks,
            self._answers,
            self._contacts,
            self._clock,
        )
        sweep_file = sweep_pb2.DESCRIPTOR
        sweep_pb2_grpc.add_SweepServiceServicer_to_server(
            repeatable(sweeps, sweep_file, self._answers), server
        )
        seat_pb2_grpc.add_SeatServiceServicer_to_server(self._links, server)
        names = (
            file.services_by_name["FrameworkService"],
            job_file.services_by_name["JobService"],
            sweep_file.services_by_name["SweepService"],
            seat_pb2.DESCRIPTOR.services_by_name["SeatService"],
        )
        lineage = JobLineage(self._jobs, self._sweeps, self._frameworks, self._engine.store)
        return [*(name.full_name for name in names), add_lineage(server, lineage.sources())]

    async def drain(self) -> None:
        """Nothing to do: agents and watchers come again, jobs go on where they were."""

    async def close(self) -> None:
        """Closes everything that is open."""
        if self._functions is not None:
            await self._functions.close()
        await self._plugins.close()
        if self._outward is not None:
            await self._outward.close()
        if self._database is not None:
            await self._database.close()
