"""The address cache: who is told of it and when, and what is local in it (S3.6, S3.7)."""

from __future__ import annotations

import msgspec

from modelyard.training import Address
from modelyard.training.policies.restarts import Cause
from services.trainer.convert.addresses import Cache, address_of
from services.trainer.model import InstanceState
from services.trainer.state.effects import LaunchInstance, PublishAddresses, TellAddresses
from services.trainer.state.events import SeatStands
from services.trainer.state.jobs import LiveJob
from tests.support.training_world import World, plan_from

JOB = """
kind: Framework
id: pair
roles:
  server:
    count: 1
    service: {ports: {rpc: auto}%s}
    functions: {create: {argv: [serve]}, restart: {when: [exit, node_lost], scope: instance, max: 9}}
  client:
    count: 2
    functions: {create: {argv: [ask]}, restart: {when: [exit, node_lost], scope: instance, max: 9}}
---
kind: Job
framework: pair
"""


def running(forward: str = "") -> World:
    world = World(seats_most=3)
    world.create(plan_from(JOB % forward))
    for _ in range(6):
        world.hear()
        world.place()
    assert {one.state for one in live(world).instances.values()} == {InstanceState.RUNNING}
    return world


def live(world: World) -> LiveJob:
    return world.state.jobs[1]


def place(world: World, role: str, index: int, **address: object) -> None:
    one = live(world).instances[role, index]
    one.address = msgspec.structs.replace(one.address or Address(host="h", ip="10.0.0.1"), **address)


def test_agent_that_is_there_again_is_told_where_the_others_are() -> None:  # S3.7
    """It may have been away when somebody moved."""
    world = running()
    client = live(world).instances["client", 1]
    effects = world.do(SeatStands(1, "client", 1, client.task, client.epoch))
    (wish,) = [one for one in effects.wishes if isinstance(one, TellAddresses)]
    assert (wish.role, wish.index, wish.task) == ("client", 1, client.task)


def test_start_anew_is_published_and_the_first_start_is_not() -> None:
    world = running()
    revision = live(world).job.address_revision
    assert revision == 3, "one for each that was placed"
    seat = next(one for one in world.seats.values() if one.role == "server")
    world._exit(seat, Cause.EXIT)
    for _ in range(10):
        world.hear()
        world.pass_time(1_000)
        if any(isinstance(one, LaunchInstance) for one in world.effects.wishes):
            break
    assert any(isinstance(one, PublishAddresses) for one in world.effects.wishes)
    assert live(world).job.address_revision == revision + 1
    assert address_of(live(world), ("server", 0)).epoch == 2


def test_local_address_has_the_ip_of_the_peer_and_the_port_of_who_is_told() -> None:  # S3.7
    world = running(", forward: true")
    place(world, "client", 0, forward_port=21_000)
    place(world, "client", 1, forward_port=22_000)
    cache, clients = Cache(live(world)), [live(world).instances["client", index] for index in (0, 1)]
    told = [{one.role: dict(one.local) for one in cache.told_to(client).addresses} for client in clients]
    assert [one["server"] for one in told] == [{"rpc": "127.64.0.1:21000"}, {"rpc": "127.64.0.1:22000"}]
    assert not told[0]["client"]


def test_peer_without_a_place_keeps_its_local_address() -> None:  # S3.7
    world = running(", forward: true")
    place(world, "client", 0, forward_port=21_000)
    live(world).instances["server", 0].address = None
    (server,) = [
        one
        for one in Cache(live(world)).told_to(live(world).instances["client", 0]).addresses
        if one.role == "server"
    ]
    assert not server.node and server.local == {"rpc": "127.64.0.1:21000"}


def test_those_that_start_in_the_same_step_are_not_told_twice() -> None:
    world = running()
    tasks = {one.task for one in live(world).instances.values()}
    spared = live(world).instances["server", 0].task
    commands = Cache(live(world)).commands([spared])
    assert {command.task_id for _, command in commands} == tasks - {spared}
