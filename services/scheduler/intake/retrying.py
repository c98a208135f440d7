"""How a retry becomes a submission: ended tasks again, as new ones that keep their index and their order (ADR 0010).

Elements of one array become one new array of just these elements, so that they know their index. Where a task and what
it depends on are retried together, the new one waits for the new one.
"""

from collections.abc import Iterable, Sequence

from modelyard.v1 import task_pb2 as pb
from services.chassis.security import Principal
from services.scheduler.intake.submission import Submission, content_of
from services.scheduler.model import TaskState, array_of, format_task_id, index_of, parse_task_id
from services.scheduler.reading import indexes
from services.scheduler.reading.tasks import Tasks
from services.scheduler.refusals import NothingToRetry, TaskHasNotEnded
from services.scheduler.state.tally import FINAL


class _Again:
    """One task or array to be made, and which elements of it."""

    def __init__(self, root: int, spec: pb.TaskSpec) -> None:
        self.root = root
        self.spec = spec
        self.is_whole = False
        self.indexes: set[int] = set()


class Retrying:
    """Submits ended tasks again, for whoever may see them."""

    def __init__(self, tasks: Tasks, submission: Submission) -> None:
        self._tasks = tasks
        self._submission = submission

    async def retry(
        self, request: pb.RetryTasksRequest, keys: Sequence[int], caller: Principal
    ) -> pb.RetryTasksResponse:
        """The new ids, in the order of the old ones. Raises `TaskHasNotEnded`, `NothingToRetry`."""
        made: dict[tuple[int, bytes], _Again] = {}
        by_key: dict[int, _Again] = {}
        for key in sorted(keys):
            again = await self._again(key, caller)
            again = made.setdefault((again.root, again.spec.SerializeToString(deterministic=True)), again)
            by_key[key] = again
            if index_of(key) >= 0:
                again.indexes.add(index_of(key))
            elif request.failed_only:
                again.indexes.update(await self._unsuccessful(key, again.spec, caller))
            else:
                again.is_whole = True
        order = list(made.values())
        submission = pb.SubmitTasksRequest(request_id=request.request_id, specs=_specs(order))
        numbers, _ = await self._submission.submit(submission, caller.account, content=content_of(request))
        new = {id(again): f"t-{number}" for again, number in zip(order, numbers, strict=True)}
        return pb.RetryTasksResponse(
            task_ids=[
                new[id(by_key[key])] + (f".{index_of(key)}" if index_of(key) >= 0 else "") for key in keys
            ]
        )

    async def _again(self, key: int, caller: Principal) -> _Again:
        task = await self._tasks.get(key, caller)
        if task.state not in (pb.TASK_STATE_SUCCEEDED, pb.TASK_STATE_FAILED, pb.TASK_STATE_CANCELLED):
            raise TaskHasNotEnded(f"{task.id} has not ended", next_step=f"yard tasks wait {task.id}")
        spec = task.spec
        spec.hold = False
        spec.placement.ClearField("quote")
        return _Again(array_of(key), spec)

    async def _unsuccessful(self, key: int, spec: pb.TaskSpec, caller: Principal) -> Iterable[int]:
        """The elements of an array that did not succeed; nothing for a plain task that did not."""
        name = format_task_id(key)
        if not spec.array_size:
            if (await self._tasks.get(key, caller)).state == pb.TASK_STATE_SUCCEEDED:
                raise NothingToRetry(
                    f"{name} succeeded", next_step=f"retry it all the same: yard tasks retry {name}"
                )
            return ()
        codes = (await self._tasks.store.get_ended(key, with_elements=True)).elements
        codes += bytes(spec.array_size - len(codes))
        wanted = indexes.parse(spec.array_indexes) if spec.array_indexes else range(spec.array_size)
        left = [index for index in wanted if codes[index] & FINAL != TaskState.SUCCEEDED]
        if not left:
            raise NothingToRetry(
                f"every element of {name} succeeded", next_step=f"retry all of it: yard tasks retry {name}"
            )
        return left


def _specs(order: Sequence[_Again]) -> list[pb.TaskSpec]:
    places = {again.root: place for place, again in enumerate(order)}
    specs = []
    for place, again in enumerate(order):
        spec = again.spec
        if not again.is_whole and again.indexes:
            spec.array_indexes = indexes.write(sorted(again.indexes))
            # Those that did well are not there to start together with.
            spec.ClearField("gang")
        for dependency in spec.dependencies:
            on = parse_task_id(dependency.task_id)
            if places.get(on, place) < place:
                dependency.item_index = places[on]
        specs.append(spec)
    return specs
