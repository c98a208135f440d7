"""Instances that move are reached under the old local address, on a real yard of two agents (S3.7)."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from modelyard.client import SyncClient
from modelyard.errors import YardError
from modelyard.v1 import framework_pb2, job_pb2
from tests.support.training_yard import TrainingYard, training_yard
from tests.support.wait import wait_until_sync

MOVING = """kind: Framework
id: moving
summary: A server that can move, and a client that keeps the address with which it was born.
roles:
  server:
    count: 1
    service: {ports: {rpc: auto}, forward: true}
    functions:
      ready: {until: listening, port: rpc}
      restart: {scope: instance, max: 5, backoff: [10ms, 10ms], rules: [{exit: 3, avoid_node: true, do: restart}]}
      status: {failed: any, endless: true}
  client:
    count: 1
    functions:
      create: {env: {SERVER: "${roles.server[0].local.rpc}"}}
      depend: [{role: server, timeout: 1m}]
job_status: {succeeded: client, failed: "any(server, client)"}
---
kind: Job
framework: moving
name: moving
resources: {cpu: 0.5}
roles:
  server: {argv: [PROGRAM, serve]}
  client: {argv: [PROGRAM, keep]}
"""
PROGRAM = """
import os, socket, sys, time
from pathlib import Path

from modelyard.peers import peers

room = Path(__file__).parent
name, node = os.environ["YARD_ROLE"] + "-" + os.environ["YARD_INDEX"], os.environ["YARD_NODE"]


def say(*words):
    with (room / f"{name}.log").open("a") as log:
        log.write(" ".join(map(str, (name, os.getpid(), *words))) + "\\n")


def serve():
    listener = socket.create_server(("", int(os.environ["YARD_PORT_RPC"])))
    say("serves", node)
    while True:
        sock, _ = listener.accept()
        sock.sendall(node.encode())
        sock.recv(1)
        if (room / "move").exists():
            (room / "move").unlink()
            sys.exit(3)


def keep():
    (room / "token").write_text(os.environ["YARD_TASK_TOKEN"])
    host, _, port = os.environ["SERVER"].rpartition(":")
    while not (room / "door").exists():
        try:
            with socket.create_connection((host, int(port))) as sock:
                say("met", sock.recv(100).decode())
                sock.sendall(b"x")
        except ConnectionResetError:
            say("broken")
        time.sleep(0.05)
    server = peers()["server", 0]
    say("knows", server.node, server.epoch, server.address("rpc"))
    say("ends", os.environ["SERVER"])


{"serve": serve, "keep": keep}[sys.argv[1]]()
"""


@pytest.fixture(scope="module")
def yard_of_module() -> Iterator[TrainingYard]:
    with training_yard() as made:
        yield made


@pytest.fixture
def yard(yard_of_module: TrainingYard) -> TrainingYard:
    yard = yard_of_module.emptied()
    (yard.room / "program.py").write_text(PROGRAM)
    return yard


def met(yard: TrainingYard) -> list[str]:
    """The nodes that answered the client, in order, without repetitions."""
    nodes = [words[3] for words in yard.lines() if words[2] == "met"]
    return [node for place, node in enumerate(nodes) if not place or nodes[place - 1] != node]


def until_met(yard: TrainingYard, count: int) -> list[str]:
    wait_until_sync(
        lambda: len(met(yard)) >= count, f"{count} places of the server", timeout_s=60, state=yard.lines
    )
    return met(yard)


def test_instance_that_moved_is_met_at_the_local_address_of_before(yard: TrainingYard) -> None:  # S3.7
    job_id = yard.submit(MOVING)
    (first,) = until_met(yard, 1)
    (yard.room / "move").touch()
    before, after = until_met(yard, 2)
    assert before == first and {before, after} == set(yard.yard.nodes)
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    (end,) = [words[3] for words in yard.lines() if words[2] == "ends"]
    assert end.startswith("127.64.0.1:")
    (known,) = [words[3:] for words in yard.lines() if words[2] == "knows"]
    assert known == [after, "2", end]
    assert len({words[1] for words in yard.lines() if words[0] == "client-0"}) == 1, "the client lives on"
    yard.nothing_lives(job_id)


def test_local_address_works_while_no_agent_does(yard: TrainingYard) -> None:  # S3.7
    job_id = yard.submit(MOVING)
    until_met(yard, 1)
    agents = agents_of(yard)
    assert len(agents) == 2
    for agent in agents:
        os.kill(agent, signal.SIGSTOP)
    yard.until_lines(len(yard.lines()) + 5)
    for agent in agents:
        os.kill(agent, signal.SIGKILL)
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    yard.nothing_lives(job_id)


def test_instance_that_moved_while_the_trainer_was_killed_is_met_too(yard: TrainingYard) -> None:  # S3.7
    """The connection of before goes on without it; its successor moves the server, and tells the client's seat."""
    job_id = yard.submit(MOVING)
    (first,) = until_met(yard, 1)
    os.kill(json.loads((yard.yard.state / "run" / "trainer.json").read_text())["pid"], signal.SIGKILL)
    (yard.room / "move").touch()
    assert until_met(yard, 2)[-1] != first
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    yard.nothing_lives(job_id)


def test_program_watches_addresses_with_the_token_of_its_task(yard: TrainingYard) -> None:  # S3.7
    """It need not know its job, sees no other one, and nothing once it has ended."""
    job_id = yard.submit(MOVING)
    (first,) = until_met(yard, 1)
    token = (yard.room / "token").read_text()
    told = watch(yard, token)
    with told as changes:
        one = server_in(next(changes))
        assert (one.node, one.epoch) == (first, 1) and one.local["rpc"].startswith("127.64.0.1:")
        (yard.room / "move").touch()
        nodes = [server_in(change).node for change in until_elsewhere(changes, first)]
        assert "" in nodes and nodes[-1] not in ("", first)
    with pytest.raises(YardError) as refusal, watch(yard, token, job_id="j-999") as changes:
        next(changes)
    assert refusal.value.reason == "REPORTER_UNKNOWN"
    shown = json.loads(yard.yard.cli("train", "addresses", job_id, "--role", "server", "-o", "json").stdout)
    (server,) = shown["addresses"]
    assert server["node"] == nodes[-1] and "local" not in server
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    with pytest.raises(YardError), watch(yard, token) as changes:
        next(changes)
    table = yard.yard.cli("train", "addresses", job_id, "-o", "table")
    assert table.code == 0 and "no addresses" in table.stderr
    yard.nothing_lives(job_id)


@contextmanager
def watch(
    yard: TrainingYard, token: str, **request: str
) -> Iterator[Iterator[job_pb2.WatchAddressesResponse]]:
    with SyncClient(trainer=yard.yard.trainer, token=token) as client:
        changes = client.jobs.addresses(*request.values())
        with closing(changes):
            yield changes


def until_elsewhere(
    changes: Iterator[job_pb2.WatchAddressesResponse], node: str
) -> Iterator[job_pb2.WatchAddressesResponse]:
    for change in changes:
        servers = [one for one in change.addresses if one.role == "server"]
        if servers:
            yield change
        if servers and servers[0].node not in ("", node):
            return


def server_in(change: job_pb2.WatchAddressesResponse) -> framework_pb2.InstanceAddress:
    (found,) = [one for one in change.addresses if one.role == "server"]
    return found


def agents_of(yard: TrainingYard) -> list[int]:
    """The pids in the ready files of agents."""
    return [json.loads(file.read_text())["pid"] for file in yard.yard.state.glob("run/agent-*.json")]
