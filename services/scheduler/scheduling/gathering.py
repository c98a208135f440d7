"""How gangs are formed, taken back and ended. Pure.

* All members that must run together get their nodes in one step, or none does; so two gangs never wait for each other.
* A member that goes back to its queue while the gang is formed takes the whole gang back: the others are asked to end
  (cause GANG, uncounted), and all start again together.
* With the first member that ends the gang is loose: who is tried again after that starts by itself.
* A gang that can never be whole again before that, because a member was cancelled or waited too long, is cancelled.
"""

from collections.abc import Sequence

from services.scheduler.model import Cause, Now, Spec, TaskState, format_task_id, task_key
from services.scheduler.placement.seating import Wish, find_seats
from services.scheduler.queues.tenants import ShapeQueue
from services.scheduler.refusals import InvalidSpec
from services.scheduler.scheduling import holds
from services.scheduler.state.effects import Effects, RecordGang
from services.scheduler.state.gangs import Gang, Phase, needed
from services.scheduler.state.members import (
    Muster,
    Part,
    cast_of,
    is_kept_back,
    made_elements,
    muster,
    obstacle,
)
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from services.scheduler.tasks import arrays, changes, commands, lifecycle


def check(specs: Sequence[Spec], items: Sequence[tuple[int, str]]) -> None:
    """Raises `InvalidSpec` where members of one gang could not start together."""
    first: dict[str, Spec] = {}
    for index, _ in items:
        spec = specs[index]
        if not spec.shape.gang:
            continue
        other = first.setdefault(spec.shape.gang, spec)
        same = (spec.shape.queue, spec.shape.account, bool(spec.quote))
        if same != (other.shape.queue, other.shape.account, bool(other.quote)):
            field = f"specs[{index}].gang"
            raise InvalidSpec(
                f"{field}: members of the gang {spec.shape.gang!r} differ in their queue, or only some have a quote",
                field=field, next_step="give all of them the same queue, and a quote or none",
            )  # fmt: skip


def enlist(
    state: State, specs: Sequence[Spec], items: Sequence[tuple[int, str]], first: int, effects: Effects
) -> None:
    """Makes the gangs of one submission: those of its tasks that name the same one."""
    by_name: dict[str, dict[int, int]] = {}
    quoted: set[str] = set()
    for number, (index, _) in enumerate(items, first):
        spec = specs[index]
        name = spec.shape.gang
        if name:
            by_name.setdefault(name, {})[task_key(number)] = needed(spec)
            if spec.quote:
                quoted.add(name)
    for name, units in by_name.items():
        if sum(units.values()) > 1:
            # What is quoted is placed in this very step.
            phase = Phase.FORMED if name in quoted else Phase.WAITING
            gang = Gang(next(iter(units)), name, units, phase)
            state.gangs.add(gang)
            effects.rows.append(_row(gang))


def _row(gang: Gang) -> RecordGang:
    return RecordGang(gang.key, gang.name, tuple(gang.units.items()), gang.phase is Phase.LOOSE)


def settle(state: State, now: Now, effects: Effects) -> bool:
    """Considers every gang of which a member ended or went back to its queue; False: there was none."""
    moved = state.gangs.moved
    if not moved:
        return False
    while moved:
        key = min(moved)
        _consider(state, moved.pop(key), now, effects)
    return True


def _consider(state: State, gang: Gang, now: Now, effects: Effects) -> None:
    ended, gang.ended = gang.ended, []
    if not any(unit in state.tasks for unit in gang.units):
        state.gangs.forget(gang)
        return
    if gang.phase is Phase.FORMED and ended:
        gang.phase = Phase.LOOSE
        effects.rows.append(_row(gang))
        return
    if gang.phase is Phase.LOOSE:
        return
    found = muster(state, gang)
    failed = next((key for key, final in ended if key in gang.units and final is not TaskState.SUCCEEDED), 0)
    if failed or found.lacking:
        _cancel(state, gang, failed or found.lacking[0], now, effects)
    elif gang.phase is Phase.FORMED and found.missing:
        _dissolve(state, gang, found, effects)
    elif gang.phase is Phase.DISSOLVING and not found.placed:
        gang.phase = Phase.WAITING
        _list(state, found)


def _cancel(state: State, gang: Gang, missed: int, now: Now, effects: Effects) -> None:
    """It can never be whole again; what of it is still on a node has been asked to end."""
    comment = f"its gang {gang.name} cannot be whole without {format_task_id(missed)}"
    gang.phase = Phase.LOOSE
    effects.rows.append(_row(gang))
    for unit in gang.units:
        task = state.tasks.get(unit)
        if task is None:
            continue
        if task.tally is not None:
            arrays.cancel(state, task, commands.DEFAULT_GRACE_MS, comment, now, effects)
        elif task.node:
            if task.stop is None:
                task.stop = (commands.DEFAULT_GRACE_MS, comment)
                task.reason = f"CANCEL_REQUESTED: {comment}"
                changes.record(state, task, now, effects)
        else:
            task.reason = f"GANG: {comment}"
            lifecycle.end(state, task, TaskState.CANCELLED, now, effects, cause=Cause.GANG)


def _dissolve(state: State, gang: Gang, found: Muster, effects: Effects) -> None:
    if not found.placed:
        gang.phase = Phase.WAITING
        _list(state, found)
        return
    gang.phase = Phase.DISSOLVING
    for task in found.placed:
        ask_to_end(state, gang, task, effects)


def ask_to_end(state: State, gang: Gang, task: Task, effects: Effects) -> None:
    """Tells the agent of a member that the gang is taken back; saying it again does no harm."""
    node = state.cluster.nodes[task.node]
    message = f"its gang {gang.name} is taken back and starts again together"
    commands.stop(task, node, effects, Cause.GANG, message, commands.DEFAULT_GRACE_MS)


def tell_again(state: State, task: Task, effects: Effects) -> None:
    """After a hello: what was asked to end before may not have heard it."""
    gang = state.gangs.of(task.key)
    if gang is not None and gang.phase is Phase.DISSOLVING:
        ask_to_end(state, gang, task, effects)


def _list(state: State, found: Muster) -> None:
    """Makes sure that some member's turn comes: it stands for all."""
    for members in found.ready.values():
        _ensure_turn(state, members[0])


# --- forming


def take_turn(state: State, queue: ShapeQueue, now: Now, effects: Effects) -> bool:
    """Forms the gang whose turn it is. False: the queue's first task may be placed like any other."""
    while queue.keys:
        task = state.tasks.get(queue.keys[0][1])
        if task is None or task.queue is not queue or task.node:
            queue.keys.popleft()
            continue
        gang = state.gangs.of(task.key)
        if gang is None or gang.phase in (Phase.FORMED, Phase.LOOSE):
            return False
        found = muster(state, gang)
        if gang.phase is Phase.DISSOLVING or found.unready:
            # The last one to become ready brings all the others along.
            queue.keys.popleft()
            continue
        cast = cast_of(state, found)
        if found_obstacle := obstacle(cast):
            state.waiting.set_aside(queue, found_obstacle.holder)
        elif _form(state, gang, cast, now, effects):
            _follow(state, gang)
        else:
            # Room for any of them lets it try again.
            for member in {member.queue: member.task for member in cast}.values():
                _ensure_turn(state, member)
            state.waiting.set_aside(queue)
        return True
    return True


def _form(state: State, gang: Gang, cast: Sequence[Part], now: Now, effects: Effects) -> bool:
    """Gives every member that must run its node, or nobody."""
    cluster = state.cluster
    if gang.tried_at == cluster.changes:
        return False
    counts: list[int] = []
    wishes = [
        Wish(part.queue.candidates, 1, gang.key if part.queue.shape.is_distinct else 0) for part in cast
    ]
    seats = find_seats(cluster, wishes, lambda shape, seated, taken: counts.append(seated))
    if seats is None:
        gang.tried_at = cluster.changes
        gang.found = counts[0]
        return False
    for seat, part in zip(seats, cast, strict=True):
        task = arrays.take_element(state, part.task, now, effects) if part.is_new else part.task
        devices = seat.node.rooms[seat.room].devices
        cluster.give_up_room(seat.node, seat.room, is_gain=False)
        lifecycle.assign(state, task, seat.node, now, effects, devices=devices)
        state.waiting.aside.settle(seat.node)
    gang.phase = Phase.FORMED
    if state.held_nodes:
        for part in cast:
            holds.release(state, part.task.key)
    return True


def _follow(state: State, gang: Gang) -> None:
    """Elements beyond the number that must run together follow by themselves when there is room."""
    for key in gang.units:
        unit = state.tasks.get(key)
        if unit is None or unit.tally is None:
            continue
        others = [element for element in made_elements(state, unit) if not element.node]
        for task in (*others, unit) if unit.tally.left else others:
            if not is_kept_back(state, task):
                _ensure_turn(state, task)


def _ensure_turn(state: State, task: Task) -> None:
    """It may have been passed over while its gang was not ready."""
    if (task.ticket, task.key) not in task.queue.keys:
        task.ticket = state.waiting.put_back(task.queue, task.key)
