"""A plan rendered before anything has a place: with placeholders for addresses, or with those that are given. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from modelyard.documents.problems import Findings
from modelyard.training.plans.checks import note_unmade
from modelyard.training.plans.plan import Identity, Plan
from modelyard.training.policies.readiness import Dependency
from modelyard.training.rendering.launches import Launch, RenderError
from modelyard.training.rendering.scope import Address, Book, Surroundings

FIRST_PORT = 20_000


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """One instance as it would be started."""

    role: str
    index: int
    name: str
    """Stable."""
    address: Address
    launch: Launch
    edges: tuple[Dependency, ...]


def placeholders(plan: Plan, identity: Identity) -> dict[tuple[str, int], Address]:
    """An address for every instance: its stable name, ports from 20000 on or the first that it may have."""
    found, at = {}, plan.surroundings(identity, {})
    number, forward_port = FIRST_PORT, FIRST_PORT - 1 if plan.forwarded else 0
    for planned in plan.roles:
        for index in range(planned.count):
            ports = {}
            for port in planned.role.address():
                low, high = (port.low, port.high) if port.low else (FIRST_PORT, 65_535)
                ports[port.name] = low + (number - FIRST_PORT) % (high - low + 1)
                number += 1
            name = at.stable_name(planned.name, index)
            directory = f"/instances/{planned.name}-{index}"
            found[planned.name, index] = Address(
                host=name, ip=name, ports=ports, directory=directory, forward_port=forward_port
            )
    return found


def previews(
    plan: Plan, identity: Identity | None = None, given: Book | None = None, first: int = 0
) -> Iterator[Preview]:
    """Every instance from the `first` on, in the order of roles and indexes. Raises `RenderError`."""
    who = identity or _somebody(plan)
    book: Mapping[tuple[str, int], Address] = {**placeholders(plan, who), **(given or {})}
    at = plan.surroundings(who, book)
    number = 0
    for planned in plan.roles:
        edges = plan.edges(planned.name)
        for index in range(planned.count):
            number += 1
            if number > first:
                yield Preview(
                    role=planned.name, index=index, name=at.stable_name(planned.name, index),
                    address=book[planned.name, index], launch=_launch(plan, at, planned.name, index), edges=edges,
                )  # fmt: skip


def _somebody(plan: Plan) -> Identity:
    return Identity(id=plan.job.name, secret="secret")


def _launch(plan: Plan, at: Surroundings, role: str, index: int) -> Launch:
    try:
        return plan.launch(at, role, index)
    except RenderError as error:
        raise RenderError(error.message, f"roles.{role}.{error.path}") from None


def check_launches(plan: Plan, findings: Findings) -> None:
    """Notes what only shows when instances are rendered: the first and the last of each role are."""
    who = _somebody(plan)
    at = plan.surroundings(who, placeholders(plan, who))
    for planned in plan.roles:
        # A package's code is asked where it runs, when an instance is made.
        is_ours = planned.count and "create" not in planned.role.coded
        for index in sorted({0, planned.count - 1}) if is_ours else ():
            try:
                plan.launch(at, planned.name, index)
            except RenderError as error:
                message = f"instance {index} cannot be made: {error.message}"
                note_unmade(plan, planned.name, error.path, message, findings)
                break
