"""Which waiting task goes to which worker. Pure.

A task starts when its resources are free. Short calls are also handed ahead, behind a running one
of the same shape: they take its slot over when it ends, with no round trip in between.
"""

from __future__ import annotations

import heapq

from services.agent.tasks.effects import ApplyLimits, CancelTask, Effect, QuitWorker, RunTasks, SpawnWorker
from services.agent.tasks.model import Phase, Pool, Task, Worker
from services.agent.tasks.state import AHEAD_MS, State

OVERDUE_MS = 5 * int(AHEAD_MS)
"""A call that runs so long is no short one: what waits behind it is called back."""


def hand_out(state: State, now_ms: int) -> list[Effect]:
    """Gives waiting tasks to workers as far as resources, lease and workers allow."""
    if not state.lanes or not state.may_start(now_ms):
        return []
    effects: list[Effect] = []
    given: dict[str, list[Task]] = {}
    heap = state.lanes.heads()
    direct_waits = False
    while heap:
        prefill, _, lane = heap[0]
        if prefill and direct_waits:
            break
        task = lane.head()
        worker = None if task is None else _choose(state, task, now_ms, effects, given)
        if task is None or worker is None:
            direct_waits = direct_waits or (task is not None and not prefill)
            heapq.heappop(heap)
            continue
        lane.tasks.popleft()
        _give(state, worker, task, now_ms, effects)
        given.setdefault(worker.name, []).append(task)
        following = lane.head()
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (prefill, following.rank, lane))
    effects.extend(RunTasks(name, tuple(tasks)) for name, tasks in given.items() if state.workers[name].ready)
    return effects


def keep_warm(state: State) -> list[Effect]:
    """Spawns fresh workers up to the wanted number, while nothing more urgent is starting."""
    fresh = state.group(None).idle
    missing = state.settings.warm_workers - len(fresh)
    if state.draining or state.starting or missing <= 0 or len(state.workers) >= state.settings.workers_most:
        return []
    effects: list[Effect] = []
    for _ in range(missing):
        _spawn(state, None, effects)
    return effects


def retire(state: State, now_ms: int) -> list[Effect]:
    """Ends claimed workers that have been idle for long."""
    oldest = now_ms - state.settings.idle_worker_ms
    idle = [
        worker
        for pool, group in state.groups.items()
        if pool is not None
        for worker in group.idle.values()
        if worker.ready and not worker.unacked and worker.idle_since_ms <= oldest
    ]
    effects: list[Effect] = []
    for worker in idle:
        _dismiss(state, worker, effects)
    for pool in [pool for pool, group in state.groups.items() if pool and not group.idle and not group.busy]:
        del state.groups[pool]
    return effects


def call_back(state: State, now_ms: int) -> list[Effect]:
    """Recalls what waits in workers behind an overdue call, or when the lease is over."""
    fenced = not state.may_start(now_ms)
    effects: list[Effect] = []
    for worker in state.workers.values():
        behind = len(worker.queue) > 1 and worker.ready
        if behind and (fenced or now_ms - worker.idle_since_ms >= OVERDUE_MS):
            effects.extend(recall(state, worker))
    return effects


def take_from_queue(state: State, worker: Worker, task: Task, now_ms: int) -> None:
    """A task has left its worker's queue; an empty queue frees the slot."""
    queue = worker.queue
    if queue and queue[0] == task.key:
        queue.popleft()
        worker.idle_since_ms = now_ms
    elif task.key in queue:
        queue.remove(task.key)
    if not queue and worker.slot is not None:
        state.release(worker)
        if not worker.leaving:
            group = state.groups[worker.pool]
            group.busy.pop(worker.name, None)
            group.idle[worker.name] = worker


def remove(state: State, worker: Worker) -> None:
    """A worker is gone."""
    del state.workers[worker.name]
    if worker.slot is not None:
        state.release(worker)
    group = state.group(worker.pool)
    group.idle.pop(worker.name, None)
    group.busy.pop(worker.name, None)
    if not worker.ready:
        state.starting -= 1


def leave(state: State, worker: Worker) -> None:
    """From now on a worker gets no work."""
    worker.leaving = True
    group = state.groups[worker.pool]
    group.idle.pop(worker.name, None)
    group.busy.pop(worker.name, None)


def _choose(
    state: State, task: Task, now_ms: int, effects: list[Effect], given: dict[str, list[Task]]
) -> Worker | None:
    group = state.group(task.pool)
    if not state.fits(task.body.resources):
        return _behind(state, task, now_ms, given)
    if group.idle:
        return group.idle[next(reversed(group.idle))]
    if task.pool.plain and (fresh := state.group(None).idle):
        return _claim(state, fresh, task.pool)
    if state.starting < state.settings.starting_most and _has_room(state, effects):
        return _spawn(state, task.pool, effects)
    return _behind(state, task, now_ms, given)


def _behind(state: State, task: Task, now_ms: int, given: dict[str, list[Task]]) -> Worker | None:
    """The busy worker of the same shape with the shortest queue, if the wait there is short.

    A queue is filled up once it is half empty: fewer and larger frames.
    """
    body = task.body
    depth = state.depth(body)
    if depth == 1 or task.gpu_devices or body.is_alone:
        return None
    best: Worker | None = None
    shortest = depth
    for worker in state.group(task.pool).busy.values():
        waiting = len(worker.queue)
        if waiting >= shortest or (waiting > depth // 2 and worker.name not in given):
            continue
        if worker.slot != body.resources or worker.limits != body.limits:
            continue
        if now_ms - worker.idle_since_ms >= 2 * AHEAD_MS:
            continue
        running = state.tasks[worker.queue[0]]
        if running.suspend_asked:
            continue
        head = running.body
        if head.label == body.label or waiting < state.depth(head):
            best, shortest = worker, waiting
    return best


def _claim(state: State, fresh: dict[str, Worker], pool: Pool) -> Worker:
    """Takes a fresh worker for good, one that is ready if there is."""
    worker = next((one for one in fresh.values() if one.ready), None) or next(iter(fresh.values()))
    del fresh[worker.name]
    worker.pool = pool
    state.group(pool).idle[worker.name] = worker
    return worker


def _spawn(state: State, pool: Pool | None, effects: list[Effect]) -> Worker:
    state.spawned += 1
    worker = Worker(f"w{state.spawned}", pool)
    state.workers[worker.name] = worker
    state.group(pool).idle[worker.name] = worker
    state.starting += 1
    effects.append(SpawnWorker(worker.name, pool))
    return worker


def _has_room(state: State, effects: list[Effect]) -> bool:
    """Whether one more worker may be started; an idle one of another pool makes room if need be."""
    if len(state.workers) < state.settings.workers_most:
        return True
    idle = [
        worker
        for group in state.groups.values()
        for worker in group.idle.values()
        if worker.ready and not worker.unacked
    ]
    if not idle:
        return False
    _dismiss(state, min(idle, key=lambda worker: worker.idle_since_ms), effects)
    return True


def _dismiss(state: State, worker: Worker, effects: list[Effect]) -> None:
    leave(state, worker)
    effects.append(QuitWorker(worker.name))


def _give(state: State, worker: Worker, task: Task, now_ms: int, effects: list[Effect]) -> None:
    state.move(task, Phase.HANDED)
    task.worker = worker.name
    if not worker.queue:
        state.reserve(worker, task.body.resources)
        group = state.groups[worker.pool]
        group.busy[worker.name] = group.idle.pop(worker.name)
        worker.idle_since_ms = now_ms
        if worker.limits != task.body.limits:
            worker.limits = task.body.limits
            effects.append(ApplyLimits(worker.name, task.body.limits))
    worker.queue.append(task.key)


def recall(state: State, worker: Worker) -> list[Effect]:
    """Calls back what waits behind the first task of a worker."""
    effects: list[Effect] = []
    for key in list(worker.queue)[1:]:
        task = state.tasks[key]
        if task.phase is Phase.HANDED and not (task.recalled or task.stop or task.retracting):
            task.recalled = True
            effects.append(CancelTask(worker.name, task, 0, if_waiting=True))
    return effects
