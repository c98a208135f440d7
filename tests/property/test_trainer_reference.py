"""States of instances, roles and the job, and what is started, are those of a model that was written by the page (S3.9,
S3.10): over ten thousand orders of what agents tell, with repetitions and news that are out of date."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from modelyard.training import Address, Plan
from modelyard.training.policies.restarts import Cause
from services.trainer import machine
from services.trainer.jobs import outcomes
from services.trainer.jobs.acts import Act
from services.trainer.model import Exit
from services.trainer.state.effects import Effects, InsertBatch, LaunchInstance, StopInstance
from services.trainer.state.events import (
    Event,
    InstanceEnded,
    InstanceStarted,
    JobCreated,
    JobStopped,
    SeatOpened,
    SeatsAccepted,
    SignSeen,
)
from services.trainer.state.state import State, check_invariants
from tests.support.training_reference import Key, Reckoning, RoleRule
from tests.support.training_world import job_of, plan_from

ORDERS = 10_000
GROUPS = 5
DEFINITIONS = 250
STEPS_MOST = 60


def rules_of(seed: int) -> dict[str, RoleRule]:
    """Up to three roles of up to three instances."""
    chance = random.Random(f"rules {seed}")
    rules: dict[str, RoleRule] = {}
    for place in range(chance.randint(1, 3)):
        waits = []
        for other, rule in rules.items():
            signs = ["address", "started", "log"] + ([] if rule.is_endless else ["succeeded"])
            if chance.random() < 0.6:
                waits.append((other, chance.choice(signs), chance.choice(("all", "any", "first"))))
        rules[f"r{place}"] = RoleRule(
            chance.randint(1, 3), tuple(waits), chance.choice(("instance", "role", "job")), chance.choice((0, 1, 3)),
            bool(place) and chance.random() < 0.3,
        )  # fmt: skip
    return rules


@cache
def defined(seed: int) -> tuple[dict[str, RoleRule], Plan]:
    rules = rules_of(seed)
    roles = {
        name: {
            "count": {"default": rule.count},
            "functions": {
                "create": {"argv": ["work"]},
                "depend": [_edge(*edge) for edge in rule.waits_for],
                "restart": {"when": ["exit"], "scope": rule.scope, "max": rule.most, "backoff": ["0s", "0s"]},
                "status": {"endless": rule.is_endless},
            },
        }
        for name, rule in rules.items()
    }
    ends = ", ".join(name for name, rule in rules.items() if not rule.is_endless)
    status = {"succeeded": f"all({ends})", "failed": f"any({', '.join(rules)})"}
    framework = {"kind": "Framework", "id": "f", "roles": roles, "job_status": status}
    return rules, plan_from(f"{json.dumps(framework)}\n---\n{{kind: Job, framework: f}}\n")


def _edge(role: str, sign: str, quorum: str) -> dict[str, Any]:
    return {"role": role, "until": sign, "quorum": quorum, **({"pattern": "up"} if sign == "log" else {})}


@dataclass
class Place:
    """What really is in a seat, and what its agent has still to tell."""

    task: str
    is_open: bool = False
    epoch: int = 0
    is_live: bool = False
    news: list[Event] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)


class Order:
    """One job with the machine and the model side by side."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"order {seed}")
        self.rules, self.plan = defined(seed % DEFINITIONS)
        self.model = Reckoning(self.rules)
        self.state = State()
        self.places: dict[Key, Place] = {}
        effects = machine.step(self.state, [JobCreated(1, job_of(self.plan), self.plan)], 1)
        (row,) = (row for row in effects.rows if isinstance(row, InsertBatch))
        tasks = {(role, n): f"t-{role}.{n}" for role, each in row.seats.items() for n in each}
        self.places = {key: Place(task) for key, task in tasks.items()}
        for key, place in self.places.items():
            address = Address(host="h", ip="127.0.0.1", directory="/d", node="n")
            place.news.append(SeatOpened(1, *key, place.task, address))
        self.step([SeatsAccepted(1, "ann", row.batch, tasks)])

    def run(self) -> None:
        for _ in range(STEPS_MOST):
            self._something_happens()
            if 1 not in self.state.jobs or self.state.jobs[1].job.state.has_ended:
                return
            self.step([self._news() for _ in range(self.chance.choice((1, 1, 2, 3)))])

    def _something_happens(self) -> None:
        """Processes show their sign, and end by themselves."""
        live = [key for key, place in self.places.items() if place.is_live]
        if not live or self.chance.random() < 0.4:
            return
        key = self.chance.choice(live)
        place = self.places[key]
        signs = self.plan.signs(key[0])
        log = next((n for n, sign in enumerate(signs) if sign.pattern == "up"), None)
        if log is not None and self.chance.random() < 0.5:
            place.news.append(SignSeen(1, *key, place.epoch, log))
        elif not self.rules[key[0]].is_endless or self.chance.random() < 0.2:
            self._end(key, Cause.EXIT if self.chance.random() < 0.35 else Cause.SUCCESS)

    def _end(self, key: Key, cause: Cause) -> None:
        place = self.places[key]
        if place.is_live:
            place.is_live = False
            found = Exit(epoch=place.epoch, cause=cause, exit_code=int(cause is Cause.EXIT))
            place.news.append(InstanceEnded(1, *key, place.task, found))

    def _news(self) -> Event:
        """In order from each seat, in any order between them; now and then something that was told already."""
        if self.chance.random() < 0.01:
            return JobStopped(9, 1, "")
        told = [place for place in self.places.values() if place.told]
        waiting = [place for place in self.places.values() if place.news]
        if told and (not waiting or self.chance.random() < 0.2):
            return self.chance.choice(self.chance.choice(told).told)
        place = self.chance.choice(waiting)
        event = place.news.pop(0)
        place.told.append(event)
        return event

    def step(self, events: list[Event]) -> None:
        for event in events:
            self._reckon(event)
        self.model.follow()
        effects = machine.step(self.state, events, 1)
        check_invariants(self.state)
        self._compare(events)
        self._carry_out(effects)

    def _reckon(self, event: Event) -> None:
        model = self.model
        if isinstance(event, SeatOpened):
            model.opened((event.role, event.index))
        elif isinstance(event, InstanceStarted):
            model.started((event.role, event.index), event.epoch)
        elif isinstance(event, SignSeen):
            model.showed((event.role, event.index), event.epoch)
        elif isinstance(event, InstanceEnded):
            model.ended((event.role, event.index), event.exit.epoch, event.exit.cause is Cause.SUCCESS)
        elif isinstance(event, JobStopped):
            model.asked_to_stop()

    def _compare(self, events: list[Event]) -> None:
        live = self.state.jobs[1]
        found = {key: one.state.value for key, one in live.instances.items()}
        assert found == self.model.states(), f"after {events}"
        assert live.job.state.value == self.model.state, f"after {events}"
        assert {key: one.epoch for key, one in live.instances.items()} == {
            key: one.epoch for key, one in self.model.who.items()
        }
        roles = outcomes.role_states(Act(self.state, live, Effects(), 1))
        assert {name: role.value for name, role in roles.items()} == self.model.roles(), f"after {events}"

    def _carry_out(self, effects: Effects) -> None:
        for wish in effects.wishes:
            if isinstance(wish, LaunchInstance):
                key, place = (wish.role, wish.index), self.places[wish.role, wish.index]
                assert not place.is_live and wish.epoch == place.epoch + 1
                place.epoch, place.is_live = wish.epoch, True
                place.news.append(InstanceStarted(1, *key, place.task, wish.epoch))
            elif isinstance(wish, StopInstance):
                self._end((wish.role, wish.index), Cause.STOPPED)


@pytest.mark.parametrize("group", range(GROUPS))
def test_job_any_order_of_events_is_as_the_model_reckons(group: int) -> None:
    """# S3.8 S3.9 S3.10"""
    for seed in range(group, ORDERS, GROUPS):
        Order(seed).run()


def test_orders_come_to_every_end() -> None:
    ends = set()
    for seed in range(400):
        order = Order(seed)
        order.run()
        ends.add(order.model.state)
        if {"succeeded", "failed", "stopped"} <= ends:
            return
    pytest.fail(f"only {ends}")
