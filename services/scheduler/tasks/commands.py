"""What agents are told of tasks, numbered and in the order of their batch. Pure; moves nothing."""

from services.scheduler.model import Cause
from services.scheduler.placement.cluster import Node
from services.scheduler.state.effects import Command, Effects, StartTask, StopTask
from services.scheduler.state.task import Task

DEFAULT_GRACE_MS = 5_000


def send_start(task: Task, node: Node, effects: Effects) -> None:
    """Tells the agent to start the present attempt; repeating it does no harm."""
    names = tuple(node.devices.names[i] for i in task.devices)
    command = StartTask(
        task.key, task.attempt, task.epoch, task.spec, task.params, task.is_prefilled, names, task.account
    )
    send(node, command, effects)
    task.command = node.command


def send(node: Node, command: Command, effects: Effects) -> None:
    """Numbers a command and puts it into the node's batch."""
    node.command += 1
    batch = effects.commands.get(node.id)
    if batch is None:
        effects.commands[node.id] = (node.command, [command])
    else:
        batch[1].append(command)


def stop(
    task: Task, node: Node, effects: Effects, cause: Cause, message: str, grace_ms: int, signal: str = ""
) -> None:
    """Asks the agent to end the present attempt; ``signal`` asks a command, SIGTERM unless another is given."""
    send(node, StopTask(task.key, task.attempt, grace_ms, cause, message, signal), effects)
