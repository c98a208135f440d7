"""A scheduler and an agent as real processes over TLS: who is let in, who is not, and what is renewed in time."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from modelyard.channel import connect
from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1 import node_pb2, seat_pb2, task_pb2
from modelyard.v1.agent_link_pb2_grpc import AgentLinkServiceStub
from modelyard.v1.node_pb2_grpc import NodeServiceStub
from modelyard.v1.task_pb2_grpc import TaskServiceStub
from services.agent.workers.traces import socket_directory
from services.chassis.process.tls import make_ca, make_request, sign_request
from tests.support.seat_trainer import SeatTrainer, seat_spec, submit_seats
from tests.support.wait import wait_until
from tests.support.yard import AGENT_PORT_OFFSET, free_port_base

pytestmark = pytest.mark.asyncio

TTL_S = 8
"""A scheduler has to be there again within it, on a busy machine too: who renews too late is let in no more."""
START_S = 60.0


class SecuredYard:
    """A scheduler process with TLS, and agent processes that join it."""

    def __init__(self, home: Path) -> None:
        self.state = home / "yard"
        self.home = home
        # Not such as the system gives away for outgoing connections: another test's may take it meanwhile.
        self.port = free_port_base()
        self.agent_port = self.port + AGENT_PORT_OFFSET
        self.scheduler: asyncio.subprocess.Process | None = None
        self.agents: list[asyncio.subprocess.Process] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        return self.state / "tls" / "ca.pem"

    async def start(self) -> None:
        options = ["--port", str(self.port), "--agent-port", str(self.agent_port), "--tls"]
        self.scheduler = await self._run("scheduler", self.state, *options, "--node-ttl-s", str(TTL_S))
        await wait_until(
            (self.state / "run" / "scheduler.json").exists,
            "the scheduler",
            timeout_s=START_S,
            logs=[self.log("scheduler")],
        )

    async def stop(self) -> None:
        for process in (*self.agents, self.scheduler):
            if process is not None and process.returncode is None:
                process.terminate()
                await asyncio.wait_for(process.wait(), START_S)
        self.agents.clear()

    async def join(self, node: str, token: str, *options: str) -> asyncio.subprocess.Process:
        """An agent on a machine of its own: nothing but the token is known there."""
        home = self.home / node
        home.mkdir(exist_ok=True)
        (home / "join.token").write_text(f"{token}\n")
        words = ["--node", node, "--scheduler", self.address, "--cpu", "2", "--warm-workers", "0"]
        process = await self._run(
            "agent", home, *words, "--join-token-file", str(home / "join.token"), *options
        )
        self.agents.append(process)
        return process

    async def serving(self, node: str) -> None:
        ready = self.home / node / "run" / f"agent-{node}.json"
        logs = [self.log("agent"), self.log("scheduler")]
        await wait_until(ready.exists, f"{node} serves", timeout_s=START_S, logs=logs)

    def credentials(self, node: str) -> Path:
        return self.home / node / "agents" / node / "credentials"

    def record(self, node: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.credentials(node) / "node.json").read_text())
        return content

    async def renewal(self, node: str) -> None:
        """Until other credentials were given than the present ones."""
        present = self.record(node)["token"]
        await wait_until(
            lambda: self.record(node)["token"] != present,
            "a renewal",
            timeout_s=2 * TTL_S,
            logs=[self.log("agent")],
        )

    def admin(self) -> grpc.aio.Channel:
        token = (self.state / "secrets" / "admin.token").read_text().strip()
        return connect(self.address, token=token, ca_file=self.ca_file)

    async def join_token(self, node: str = "") -> str:
        async with self.admin() as channel:
            answer = await NodeServiceStub(channel).CreateJoinToken(
                node_pb2.CreateJoinTokenRequest(node=node)
            )
        return str(answer.join_token)

    async def run_command(self, *argv: str) -> task_pb2.Task:
        """Submits a command and waits for its end."""
        spec = task_pb2.TaskSpec(command=task_pb2.CommandWork(argv=argv))
        async with self.admin() as channel:
            tasks = TaskServiceStub(channel)
            submitted = await tasks.SubmitTasks(task_pb2.SubmitTasksRequest(specs=[spec]))
            request = task_pb2.WaitTaskRequest(task_id=submitted.task_ids[0])
            request.wait_timeout.FromSeconds(20)
            answer = await tasks.WaitTask(request)
        assert answer.ended
        return answer.task

    async def say_hello(self, node: str, token: str, port: int, identity: Path | None) -> grpc.StatusCode:
        """How a hello of a node is answered; OK: it was welcomed."""
        async with connect(
            f"127.0.0.1:{port}", token=token, ca_file=self.ca_file, cert_file=identity, key_file=identity
        ) as channel:
            call = AgentLinkServiceStub(channel).Connect(timeout=10)
            try:
                await call.write(pb.ConnectRequest(hello=pb.Hello(node=node, protocol_version=1)))
                answer = await call.read()
            except grpc.aio.AioRpcError as error:
                return error.code()
            assert answer is grpc.aio.EOF or answer.HasField("welcome")
            return grpc.StatusCode.OK if answer is not grpc.aio.EOF else await call.code()

    def log(self, name: str) -> Path:
        return self.home / f"{name}.log"

    async def _run(self, service: str, state: Path, *options: str) -> asyncio.subprocess.Process:
        with self.log(service).open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", f"services.{service}", "--state", str(state), *options,
                stdout=log, stderr=log,
            )  # fmt: skip


@asynccontextmanager
async def secured_yard(home: Path) -> AsyncIterator[SecuredYard]:
    yard = SecuredYard(home)
    try:
        await yard.start()
        yield yard
    finally:
        await yard.stop()
        for root in home.glob("*/agents/*"):
            shutil.rmtree(socket_directory(root), ignore_errors=True)


async def test_agent_joins_with_the_line_alone_runs_a_task_and_renews_in_time(tmp_path: Path) -> None:
    async with secured_yard(tmp_path) as yard:
        await yard.join("n1", await yard.join_token())
        await yard.serving("n1")
        first = yard.record("n1")
        identity = (yard.credentials("n1") / "node.pem").read_bytes()
        assert first["agent_port"] == yard.agent_port
        assert (yard.credentials("n1") / "ca.pem").read_bytes() == yard.ca_file.read_bytes()
        assert (await yard.run_command("true")).state == task_pb2.TASK_STATE_SUCCEEDED
        await yard.renewal("n1")
        await wait_until(
            lambda: (yard.credentials("n1") / "node.pem").read_bytes() != identity, "a new certificate"
        )
        # The first credentials are over by then: only renewed ones open a session.
        is_over = lambda: time.time() * 1000 > first["expire_ms"]  # noqa: E731
        await wait_until(is_over, "the end of the first credentials", timeout_s=2 * TTL_S)
        await yard.renewal("n1")
        assert yard.scheduler is not None
        yard.scheduler.terminate()
        await asyncio.wait_for(yard.scheduler.wait(), START_S)
        sessions = yard.log("agent").read_text().count("session_opened")
        await yard.start()
        await wait_until(
            lambda: yard.log("agent").read_text().count("session_opened") > sessions, "another session",
            timeout_s=START_S, logs=[yard.log("agent")],
        )  # fmt: skip
        task = await yard.run_command("echo", "done")
        assert task.state == task_pb2.TASK_STATE_SUCCEEDED


async def test_join_token_with_another_hash_is_never_sent(tmp_path: Path) -> None:
    async with secured_yard(tmp_path) as yard:
        token = await yard.join_token()
        secret, _, announced = token.partition(".")
        agent = await yard.join("n1", f"{secret}.{announced[::-1]}")
        assert await asyncio.wait_for(agent.wait(), START_S) == 2
        assert "the token was not sent" in yard.log("agent").read_text()
        # It is still good: nobody has seen it.
        await yard.join("n1", token)
        await yard.serving("n1")


async def test_agent_with_the_authority_of_another_yard_sends_nothing(tmp_path: Path) -> None:
    async with secured_yard(tmp_path) as yard:
        foreign = tmp_path / "foreign.pem"
        foreign.write_bytes(make_ca().pem)
        token = await yard.join_token()
        agent = await yard.join("n1", token, "--ca-file", str(foreign))
        assert await asyncio.wait_for(agent.wait(), START_S) == 2
        assert "not the announced one" in yard.log("agent").read_text()
        # Pinned without an announced hash, the server is refused in the handshake.
        await yard.join("n2", token.partition(".")[0], "--ca-file", str(foreign))
        is_refused = lambda: "UNAVAILABLE" in yard.log("agent").read_text()  # noqa: E731
        await wait_until(is_refused, "the refusal", timeout_s=START_S)
        await yard.stop()


async def test_agent_port_wants_the_certificate_of_the_node_that_speaks(tmp_path: Path) -> None:
    async with secured_yard(tmp_path) as yard:
        for node in ("n1", "n2"):
            await yard.join(node, await yard.join_token(node))
            await yard.serving(node)
        for process in yard.agents:
            process.terminate()
            await asyncio.wait_for(process.wait(), START_S)
        token = {node: str(yard.record(node)["token"]) for node in ("n1", "n2")}
        identity = {node: yard.credentials(node) / "node.pem" for node in ("n1", "n2")}
        csr, key = make_request("n1")
        stranger = tmp_path / "stranger.pem"
        stranger.write_bytes(key + sign_request(make_ca(), csr, "n1"))
        refused, unreachable = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE
        for case, port, wanted in (
            (("n1", token["n1"], identity["n1"]), yard.agent_port, grpc.StatusCode.OK),
            (("n1", token["n1"], None), yard.agent_port, unreachable),
            (("n1", token["n1"], stranger), yard.agent_port, unreachable),
            (("n1", token["n1"], identity["n2"]), yard.agent_port, refused),
            (("n2", token["n1"], identity["n1"]), yard.agent_port, refused),
            (("n1", token["n1"], None), yard.port, refused),
        ):
            node, secret, pem = case
            assert await yard.say_hello(node, secret, port, pem) is wanted, case


async def test_join_token_of_one_node_lets_no_other_in(tmp_path: Path) -> None:
    async with secured_yard(tmp_path) as yard:
        agent = await yard.join("n2", await yard.join_token("n1"))
        assert await asyncio.wait_for(agent.wait(), START_S) == 2
        assert "refused the join token" in yard.log("agent").read_text()


async def test_host_name_that_is_no_node_name_is_told_to_take_another(tmp_path: Path) -> None:
    async with secured_yard(tmp_path) as yard:
        agent = await yard.join("0d1152cb50cc", await yard.join_token())
        assert await asyncio.wait_for(agent.wait(), START_S) == 2
        assert "name it by --node" in yard.log("agent").read_text()


async def test_trainer_is_dialled_with_token_and_certificate_of_the_node(tmp_path: Path) -> None:
    async with secured_yard(tmp_path) as yard:
        await yard.join("n1", await yard.join_token())
        await yard.serving("n1")
        tls = yard.state / "tls"
        pair = ((tls / "server.key").read_bytes(), (tls / "server.pem").read_bytes())
        authority = yard.ca_file.read_bytes()
        trainer = SeatTrainer()
        await trainer.start(grpc.ssl_server_credentials([pair], authority, require_client_auth=True))
        secret = (yard.state / "secrets" / "service.token").read_text().strip()
        async with connect(yard.address, token=secret, ca_file=yard.ca_file) as channel:
            (task_id,) = await submit_seats(channel, seat_spec(trainer))
            seat = await trainer.until(task_id, seat_pb2.SEAT_STATE_OPEN)
            trainer.launch(seat, 1, ["true"])
            trainer.close(await trainer.until(task_id, seat_pb2.SEAT_STATE_ENDED))
            await trainer.until(task_id, seat_pb2.SEAT_STATE_CLOSED)
        assert trainer.sessions["n1"].metadata["authorization"].startswith("Bearer yard_")
        await trainer.stop()
