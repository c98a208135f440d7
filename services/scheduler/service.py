"""The scheduler as a process: what it opens, what it serves, and in which order it ends."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc.aio

from modelyard.channel import connect
from modelyard.v1 import account_pb2, agent_link_pb2, contact_pb2, node_pb2, operator_pb2, queue_pb2, task_pb2
from modelyard.v1.account_pb2_grpc import add_AccountServiceServicer_to_server
from modelyard.v1.agent_link_pb2_grpc import add_AgentLinkServiceServicer_to_server
from modelyard.v1.contact_pb2_grpc import add_ContactServiceServicer_to_server
from modelyard.v1.node_pb2_grpc import add_NodeServiceServicer_to_server
from modelyard.v1.operator_pb2_grpc import add_OperatorServiceServicer_to_server
from modelyard.v1.queue_pb2_grpc import add_QueueServiceServicer_to_server
from modelyard.v1.task_pb2_grpc import add_TaskServiceServicer_to_server
from services.chassis.clock import SystemClock
from services.chassis.errors import ServiceError, StartRefused
from services.chassis.logs import get_logger
from services.chassis.metrics.figures import Family, gauge
from services.chassis.peers.outward import yard_key
from services.chassis.process.supervise import Loops
from services.chassis.rpc.lineage import add_lineage
from services.chassis.security import ADMIN, SERVICE, Authenticator, Principal, ensure_secret
from services.scheduler import figures
from services.scheduler.access.accounts import Accounts
from services.scheduler.access.credentials import Credentials
from services.scheduler.archive.lineage import TaskLineage
from services.scheduler.archive.logs import LogFiles
from services.scheduler.archive.past import Past
from services.scheduler.archive.retention import Retention
from services.scheduler.config import SchedulerConfig
from services.scheduler.counts import Counts
from services.scheduler.engine import Engine
from services.scheduler.intake.answers import Answers, repeatable
from services.scheduler.intake.disk import DiskGuard
from services.scheduler.intake.inputs import Inputs
from services.scheduler.intake.modification import Modification
from services.scheduler.intake.operators import Operators
from services.scheduler.intake.submission import Submission
from services.scheduler.notify.composer import Composer
from services.scheduler.notify.contacts import Contacts
from services.scheduler.notify.deliveries import Deliveries
from services.scheduler.notify.guard import parse_networks
from services.scheduler.notify.messages import Messages
from services.scheduler.notify.outbox import Outbox
from services.scheduler.notify.pool import SenderPool
from services.scheduler.notify.seal import Seal
from services.scheduler.reading.tasks import Tasks
from services.scheduler.records.store import SchedulerStore
from services.scheduler.rules import RULES
from services.scheduler.servicer.accounts import AccountServicer
from services.scheduler.servicer.contacts import ContactServicer
from services.scheduler.servicer.follow import LogFollower
from services.scheduler.servicer.link import LinkServicer
from services.scheduler.servicer.nodes import NodeServicer
from services.scheduler.servicer.operators import OperatorServicer
from services.scheduler.servicer.queues import QueueServicer
from services.scheduler.servicer.tasks import TaskServicer

DEFAULT_ACCOUNT = "default"
# A restored copy skips these many epochs, tasks and revisions: what came after the backup must not be met again.
RESTORED_SKIP = 10_000
HOUSEKEEPING_S = 5.0

_log = get_logger("scheduler.service")


class SchedulerService:
    """Wires the rooms together; the rules and the life cycle are the chassis's."""

    name = "scheduler"
    rules = RULES

    def __init__(self, config: SchedulerConfig, loops: Loops) -> None:
        self._config = config
        self._loops = loops
        self._clock = SystemClock()
        self._home = config.state_dir / "scheduler"
        self._operators = Operators()
        self._counts = Counts() if config.metrics_port else None
        self._disk = DiskGuard(config.state_dir, config.low_disk_bytes)
        self._store: SchedulerStore | None = None
        self._store_channel: grpc.aio.Channel | None = None

    async def open(self) -> None:
        config = self._config
        self._store = store = await SchedulerStore.open(self._home / "scheduler.db")
        self._disk.look()
        self._engine = Engine(
            store,
            self._clock,
            validates=config.validate,
            half_life_ms=max(int(config.fair_share_half_life_s * 1000), 1),
        )
        self._engine.counts = self._counts
        await self._open_engine()
        self._accounts = Accounts(store, self._clock)
        self._answers = Answers(self._engine, yard_key(self._config.state_dir, "answers.key"))
        await self._import_secrets()
        self._credentials = Credentials(
            self._accounts, self._clock, yard_key(config.state_dir, "tasks.key"), config.state_dir, tls=config.tls,
            node_ttl_s=config.node_ttl_s,
        )  # fmt: skip
        service_token = ensure_secret(config.state_dir / "secrets" / "service.token", "service")
        self._store_channel = connect(config.store, token=service_token, ca_file=self._authority_file())
        self._open_notify()
        self._inputs = Inputs(self._store_channel)
        self._loops.start("engine", self._engine.run())
        self._loops.start("ticks", self._engine.tick())
        self._loops.start("outbox", self._outbox.run())
        self._loops.start("housekeeping", self._keep_house())
        self._loops.start("retention", self._retention().run())

    def _retention(self) -> Retention:
        assert self._store is not None and self._store_channel is not None
        return Retention(
            self._engine, Past(self._store), LogFiles(self._home / "logs"), self._inputs, self._clock,
            self._config.keep_ended_days,
        )  # fmt: skip

    def _open_notify(self) -> None:
        """The contacts and the outbox; nothing is started before there is something to send."""
        assert self._store is not None and self._store_channel is not None
        try:
            parse_networks(self._config.notify_allow)
        except ValueError as error:
            raise StartRefused(f"--notify-allow: {error}") from error
        self._contacts = Contacts(
            self._engine, self._clock, Seal(yard_key(self._config.state_dir, "contacts.key"))
        )
        self._deliveries = Deliveries(self._store, self._clock)
        self._senders = SenderPool(self._config.notify_allow)
        self._messages = Messages(self._store, self._contacts, self._clock)
        tasks = Tasks(self._engine, self._store, self._clock)
        composer = Composer(tasks, self._messages, self._store_channel)
        self._outbox = Outbox(
            self._contacts,
            self._deliveries,
            composer,
            self._senders,
            self._clock,
            self._config.notify_backoff_s,
        )
        self._engine.on_told = self._outbox.wake

    def _authority_file(self) -> Path | None:
        """Where TLS is on, the authority's certificate, which the first service of a yard makes."""
        if not self._config.tls:
            return None
        from services.chassis.process.tls import ensure_authority

        ensure_authority(self._config.state_dir)
        return self._config.state_dir / "tls" / "ca.pem"

    async def _open_engine(self) -> None:
        """A restored copy is marked; the mark goes once the skip is on disk."""
        marker = self._home / "restored"
        restored = marker.exists()
        await self._engine.open(RESTORED_SKIP if restored else 0)
        if restored:
            marker.unlink()

    async def _import_secrets(self) -> None:
        """The tokens that lie in the state directory are good; whoever can read them owns this yard."""
        secrets = self._config.state_dir / "secrets"
        await self._accounts.ensure(DEFAULT_ACCOUNT)
        admin = ensure_secret(secrets / "admin.token", "admin")
        await self._accounts.put_token(admin, DEFAULT_ACCOUNT, ADMIN, comment="made by this yard")
        service = ensure_secret(secrets / "service.token", "service")
        await self._accounts.put_token(service, "", SERVICE, comment="services of this yard")
        join = ensure_secret(secrets / "join.token", "join")
        await self._accounts.put_join_token(join, "", 0, is_reusable=True)

    async def _keep_house(self) -> None:
        assert self._store is not None
        while True:
            self._disk.look()
            try:
                await self._store.prune_requests(self._clock.now_ms())
                await self._accounts.prune(self._clock.now_ms())
                await self._deliveries.prune()
            except ServiceError as error:
                # A full disk must not end the service: what runs goes on, and room may come.
                _log.warning("housekeeping_failed", reason=error.reason, message=error.message)
            await asyncio.sleep(HOUSEKEEPING_S)

    async def figures(self) -> list[Family]:
        """For whoever scrapes."""
        found = await figures.of_state(self._engine)
        found += await figures.of_outbox(self._outbox, self._deliveries, self._engine.clock.now_ms())
        if self._counts is not None:
            found += self._counts.families()
        found.append(gauge("yard_database_bytes", "Bytes of the database's file.", self._database_bytes()))
        return found

    def _database_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._home.glob("scheduler.db*"))

    def authenticator(self) -> Authenticator:
        return SchedulerAuthenticator(self._accounts, self._credentials, self._engine)

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        assert self._store is not None
        assert self._store_channel is not None
        engine, accounts = self._engine, self._accounts
        logs = LogFiles(self._home / "logs")
        tasks = Tasks(engine, self._store, self._clock)
        inputs = self._inputs
        submission = Submission(engine, self._operators, inputs, self._disk)
        modification = Modification(engine, tasks, self._operators, inputs)
        follower = LogFollower(engine, tasks, self._store, logs)
        agent_port, ca_hash = self._bind_agent_port(server)
        answers = self._answers
        add_TaskServiceServicer_to_server(
            repeatable(
                TaskServicer(engine, tasks, submission, modification, follower), task_pb2.DESCRIPTOR, answers
            ),
            server,
        )
        add_OperatorServiceServicer_to_server(OperatorServicer(engine, self._operators), server)
        nodes = NodeServicer(engine, accounts, answers, self._clock, self._join_address(), ca_hash)
        add_NodeServiceServicer_to_server(repeatable(nodes, node_pb2.DESCRIPTOR, answers), server)
        people = AccountServicer(engine, accounts, answers, self.authenticator(), self._clock)
        add_AccountServiceServicer_to_server(repeatable(people, account_pb2.DESCRIPTOR, answers), server)
        contacts = ContactServicer(
            self._contacts, self._deliveries, self._messages, self._outbox, self._senders, answers
        )
        add_ContactServiceServicer_to_server(repeatable(contacts, contact_pb2.DESCRIPTOR, answers), server)
        queues = QueueServicer(engine, accounts)
        add_QueueServiceServicer_to_server(repeatable(queues, queue_pb2.DESCRIPTOR, answers), server)
        link = LinkServicer(engine, self._credentials, self._operators, logs, agent_port)
        add_AgentLinkServiceServicer_to_server(link, server)
        lineage = add_lineage(server, TaskLineage(tasks, Past(self._store)).sources())
        files = (task_pb2, operator_pb2, node_pb2, account_pb2, contact_pb2, queue_pb2, agent_link_pb2)
        return [s.full_name for file in files for s in file.DESCRIPTOR.services_by_name.values()] + [lineage]

    def _bind_agent_port(self, server: grpc.aio.Server) -> tuple[int, str]:
        """Where TLS is on, agents have a port of their own that demands their certificate."""
        if not self._config.tls:
            return 0, ""
        from services.chassis.process.tls import ca_hash, ensure_server_files
        from services.chassis.rpc.server import bind

        files = ensure_server_files(self._config.state_dir, [self._config.host])
        wanted = self._config.agent_port or self._config.port + 9
        port = bind(server, self._config.host, wanted, files, client_certificates=True, flag="--agent-port")
        return port, ca_hash(files.authority.read_bytes())

    def _join_address(self) -> str:
        if self._config.advertise:
            return self._config.advertise
        host = self._config.host
        return f"{os.uname().nodename if host in ('0.0.0.0', '::') else host}:{self._config.port}"

    async def drain(self) -> None:
        """Agents are told to come back later; what they run goes on."""
        for link in list(self._engine.links.values()):
            link.close("the scheduler stops")
        await self._outbox.drain()

    async def close(self) -> None:
        await self._senders.close()
        if self._store_channel is not None:
            await self._store_channel.close()
        if self._store is not None:
            await self._store.close()


class SchedulerAuthenticator:
    """Tokens of attempts are checked by their signature, all others by the database."""

    recheck_s = 600.0

    def __init__(self, accounts: Accounts, credentials: Credentials, engine: Engine) -> None:
        self._accounts = accounts
        self._credentials = credentials
        self._engine = engine

    @property
    def generation(self) -> int:
        return self._accounts.revocations.generation

    def subscribe(self, listener: Callable[[], None]) -> None:
        """`listener` is called after each revocation."""
        self._accounts.revocations.subscribe(listener)

    async def authenticate(self, secret: str) -> Principal:
        if secret.startswith("yard_task_"):
            return self._credentials.read_task_token(secret, self._engine.state)
        return await self._accounts.authenticate(secret)
