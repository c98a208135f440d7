"""Capacity that is kept for a submission to come (S0.5): asked for, renewed, given back, used. Pure.

A quote's rooms are reserved like a task's amounts, so a submission that names it needs no luck: it is taken whole and
assigned in the same step, or refused with the reason. Quotes are in memory only; a restart of the scheduler forgets
them, and says so to whoever names one.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime

from services.chassis.errors import ServiceError
from services.scheduler.model import Now, Shape, Spec
from services.scheduler.placement.cluster import Node, Room
from services.scheduler.placement.placement import Candidates
from services.scheduler.placement.quote_book import Quote
from services.scheduler.placement.seating import Wish, find_seats
from services.scheduler.queues import admission
from services.scheduler.refusals import (
    AccountNotFound,
    NoRoom,
    QuoteExpired,
    QuoteNotFound,
    QuoteTooSmall,
    TooManyQuotes,
)
from services.scheduler.resources import GPU, SCALE, Amounts, describe
from services.scheduler.scheduling import explain
from services.scheduler.state import events as ev
from services.scheduler.state.effects import Answer, Effects, QuotedRoom, QuoteView
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from services.scheduler.tasks import arrays, lifecycle

# Of all quotes of one account.
MOST_ROOMS = 10_000
TOLD_NODES = 8


def on_quote_requested(state: State, event: ev.QuoteRequested, now: Now, effects: Effects) -> None:
    try:
        quote = _make(state, event, now)
    except ServiceError as error:
        effects.answers.append(Answer(event.reply, error=error))
        return
    effects.answers.append(Answer(event.reply, quote=view(state, quote)))


def _make(state: State, event: ev.QuoteRequested, now: Now) -> Quote:
    quotes = state.quotes
    if event.account in state.closed_accounts:
        raise AccountNotFound(f"there is no account {event.account!r}", next_step="use a token of another")
    held = quotes.count_rooms(event.account)
    if held + sum(wish.count for wish in event.wishes) > MOST_ROOMS:
        raise TooManyQuotes(
            f"{event.account} has room for {held} tasks quoted already; {MOST_ROOMS} is the most",
            field="items", next_step="use those quotes, or give them back",
        )  # fmt: skip
    indexes = {wish.shape: Candidates(wish.shape) for wish in event.wishes}
    wishes = [
        Wish(indexes[wish.shape], wish.count, place if wish.is_distinct else 0)
        for place, wish in enumerate(event.wishes, 1)
    ]
    refusals: list[ServiceError] = []
    seats = find_seats(
        state.cluster, wishes, lambda shape, found, taken: refusals.append(_no_room(state, event, shape, found, taken))
    )  # fmt: skip
    if seats is None:
        raise refusals[0]
    quote = quotes.live[event.quote] = Quote(event.quote, event.account, seats)
    quote.last(event.ttl_ms, now)
    return quote


def _no_room(
    state: State, event: ev.QuoteRequested, shape: Shape, found: int, taken: AbstractSet[str]
) -> ServiceError:
    """Why, node by node, in the words of explain."""
    nodes = sorted(state.cluster.nodes.values(), key=lambda node: node.id)
    if shape.node:
        nodes = [node for node in nodes if node.id == shape.node]
    told, metadata = [], {}
    for node in nodes:
        verdict = explain.judge(node, shape)
        reason, message = verdict.reason, verdict.message
        if node.id in taken:
            reason, message = "DISTINCT_NODES", "it has one of these tasks already"
        metadata[f"node.{node.id}"] = reason
        told.append(f"{node.id}: {reason}: {message}")
    more = f"; and {len(told) - TOLD_NODES} more nodes" if len(told) > TOLD_NODES else ""
    asked = ", ".join(describe(name, amount) for name, amount in shape.amounts) or "a task"
    total = sum(wish.count for wish in event.wishes)
    whole = f"room for {found} of {total} tasks was found, and then none for {asked}"
    first = f"no room for {asked} now" if found == 0 else whole
    return NoRoom(
        f"{first}: {'; '.join(told[:TOLD_NODES]) or 'there is no node yet'}{more}",
        field="items",
        next_step="see who is busy: yard nodes occupancy; or submit without a quote and it waits its turn",
        metadata=dict(list(metadata.items())[:TOLD_NODES]),
    )


def on_quote_renewed(state: State, event: ev.QuoteRenewed, now: Now, effects: Effects) -> None:
    try:
        quote = find(state, event.account, event.quote, now)
    except ServiceError as error:
        effects.answers.append(Answer(event.reply, error=error))
        return
    quote.last(event.ttl_ms, now)
    effects.answers.append(Answer(event.reply, quote=view(state, quote)))


def on_quote_deleted(state: State, event: ev.QuoteDeleted, now: Now, effects: Effects) -> None:
    """Deleting one that has ended changes nothing."""
    quotes = state.quotes
    quote = quotes.live.get(event.quote) or quotes.ended.get(event.quote)
    if quote is None or quote.account != event.account:
        effects.answers.append(Answer(event.reply, error=_not_found(event.quote)))
        return
    if quote.id in quotes.live:
        quote.is_deleted = True
        quote.expire_wall_ms = now.wall_ms
        _end(state, quote)
    effects.answers.append(Answer(event.reply))


def expire(state: State, now: Now) -> None:
    """Gives back what was not used in time."""
    for quote in [quote for quote in state.quotes.live.values() if quote.expire_ms <= now.monotonic_ms]:
        _end(state, quote)


def _end(state: State, quote: Quote) -> None:
    for key, node_id in quote.rooms.items():
        state.cluster.give_up_room(state.cluster.nodes[node_id], key)
    quote.rooms.clear()
    state.quotes.end(quote)


def find(state: State, account: str, quote_id: str, now: Now) -> Quote:
    """The account's quote, if it still lasts. Raises `QuoteNotFound`, `QuoteExpired`."""
    quotes = state.quotes
    quote = quotes.live.get(quote_id) or quotes.ended.get(quote_id)
    if quote is None or quote.account != account:
        raise _not_found(quote_id)
    _check_lasts(quote, now)
    return quote


def _not_found(quote_id: str) -> QuoteNotFound:
    return QuoteNotFound(
        f"there is no quote {quote_id[:80]!r}; the scheduler forgets quotes when it restarts",
        field="quote_id", next_step="ask again: yard nodes quote",
    )  # fmt: skip


def _check_lasts(quote: Quote, now: Now) -> None:
    moment = datetime.fromtimestamp(quote.expire_wall_ms / 1000, UTC).strftime("%H:%M:%S UTC")
    if quote.is_deleted:
        raise QuoteExpired(
            f"{quote.id} was given back at {moment}",
            field="quote_id",
            next_step="ask again: yard nodes quote",
        )
    if quote.expire_ms <= now.monotonic_ms:
        raise QuoteExpired(
            f"the capacity was held until {moment}", field="quote_id", next_step="ask again: yard nodes quote"
        )


def view(state: State, quote: Quote) -> QuoteView:
    """As it is told to its owner."""
    rooms = []
    for key, node_id in quote.rooms.items():
        node = state.cluster.nodes[node_id]
        room = node.rooms[key]
        rooms.append(QuotedRoom(node_id, room.amounts, tuple(node.devices.names[i] for i in room.devices)))
    return QuoteView(quote.id, quote.account, tuple(rooms), quote.expire_wall_ms)


# --- use


Plan = Mapping[int, tuple[int, ...]]


def plan(
    state: State, account: str, specs: Sequence[Spec], items: Sequence[tuple[int, str]], now: Now
) -> Plan:
    """The rooms, by their keys, that each item of a submission would get; changes nothing.

    Raises `QuoteNotFound`, `QuoteExpired`, `QuoteTooSmall`, `QuotaInUse`.
    """
    found: dict[int, tuple[int, ...]] = {}
    used: set[int] = set()
    for position, (index, _) in enumerate(items):
        spec = specs[index]
        if spec.quote:
            quote = find(state, account, spec.quote, now)
            found[position] = _rooms_for(state, quote, spec, used)
            used.update(found[position])
    wanted = [(specs[items[position][0]].shape, len(rooms)) for position, rooms in found.items()]
    admission.check_together(state.waiting, wanted)
    return found


def _rooms_for(state: State, quote: Quote, spec: Spec, used: set[int]) -> tuple[int, ...]:
    """One room for each task of the specification: of just its size first, then any that is large enough."""
    amounts = spec.shape.amounts
    free = [(key, state.cluster.nodes[node_id]) for key, node_id in quote.rooms.items() if key not in used]
    usable = [
        (node.rooms[key], node)
        for key, node in free
        if node.takes_work() and node.matches(spec.shape) and _covers(node.rooms[key].amounts, amounts)
    ]
    usable.sort(key=lambda pair: pair[0].amounts != amounts)
    chosen: list[Room] = []
    nodes: set[str] = set()
    wanted = spec.array_size or 1
    for room, node in usable:
        if len(chosen) < wanted and not (spec.shape.is_distinct and node.id in nodes):
            chosen.append(room)
            nodes.add(node.id)
    if len(chosen) < wanted:
        raise _too_small(quote, free, spec, wanted, len(chosen))
    return tuple(room.key for room in chosen)


def _covers(room: Amounts, asked: Amounts) -> bool:
    held = dict(room)
    return all(held.get(name, 0) >= amount for name, amount in asked)


def _too_small(
    quote: Quote, free: Sequence[tuple[int, Node]], spec: Spec, wanted: int, fitting: int
) -> QuoteTooSmall:
    asked = ", ".join(describe(name, amount) for name, amount in spec.shape.amounts)
    left = [
        f"{node.id}: " + (", ".join(describe(*pair) for pair in node.rooms[key].amounts) or "a task")
        + _hindrance(node, spec.shape)
        for key, node in free
    ]  # fmt: skip
    what = "; ".join([*left[:TOLD_NODES], *quote.lost[:TOLD_NODES]]) or "all of its rooms are in use"
    return QuoteTooSmall(
        f"{quote.id} has {fitting} of {wanted} rooms for {asked or 'the task'}: {what}",
        field="quote_id", next_step="ask again for what the task needs: yard nodes quote",
    )  # fmt: skip


def _hindrance(node: Node, shape: Shape) -> str:
    if not node.takes_work():
        return f" ({node.state.name.lower()})" if node.session else " (not connected)"
    if node.pool != shape.pool:
        return f" (it is in pool {node.pool}: name it too)"
    return "" if node.matches(shape) else " (it does not match what else is asked)"


def seat(state: State, task: Task, rooms: Sequence[int], now: Now, effects: Effects) -> None:
    """Assigns a task, or every element of an array, to the rooms that `plan` found for it."""
    quote = state.quotes.live[task.spec.quote]
    for key in rooms:
        node = state.cluster.nodes[quote.rooms.pop(key)]
        room = node.rooms[key]
        placed = task if task.tally is None else arrays.take_element(state, task, now, effects)
        asked = dict(placed.spec.shape.amounts).get(GPU, 0)
        devices = room.devices[: -(-asked // SCALE)]
        state.cluster.give_up_room(node, key, is_gain=room.amounts != placed.spec.shape.amounts)
        # What was promised is given, even where the machine has become smaller since.
        state.cluster.stretch(node, placed.spec.shape.amounts)
        lifecycle.pin(state, placed, node.id)
        lifecycle.assign(state, placed, node, now, effects, devices=devices)


# --- nodes that change


def drop_rooms(state: State, node: Node, why: str) -> None:
    """Nothing can be kept there any more."""
    for quote in state.quotes.live.values():
        for key in [key for key, node_id in quote.rooms.items() if node_id == node.id]:
            del quote.rooms[key]
            quote.lost.append(f"one on {node.id} was lost: {why}")
            state.cluster.give_up_room(node, key)


def keep_after_hello(state: State, node: Node, before: Mapping[int, Room]) -> None:
    """The node's accounts were begun anew with what runs there: quotes keep their room where there is room still."""
    if not before:
        return
    for quote in state.quotes.live.values():
        for key in [key for key, node_id in quote.rooms.items() if node_id == node.id]:
            del quote.rooms[key]
            amounts = before[key].amounts
            if node.has_room(amounts):
                quote.rooms[state.cluster.keep_room(node, amounts).key] = node.id
            else:
                quote.lost.append(f"one on {node.id} was lost: it came back with less room")
