"""What a command is told by its environment about itself, wherever it runs. Pure."""

from __future__ import annotations

import re

from services.agent.tasks.model import Task


def task_variables(task: Task, directory: str, params: str) -> dict[str, str]:
    """Those of one attempt. ``directory``: of the task, and ``params``: its parameters, as the command sees both."""
    env = {
        "YARD_TASK_ID": task.task_id,
        "YARD_ATTEMPT": str(task.attempt),
        "YARD_EPOCH": str(task.epoch),
        "YARD_ACCOUNT": task.body.account,
        "YARD_PARAMS": params,
        "YARD_PROGRESS_FILE": f"{directory}/progress",
    }
    if task.array_index >= 0:
        env["YARD_ARRAY_INDEX"] = str(task.array_index)
    if task.body.inputs:
        env["YARD_INPUTS"] = f"{directory}/inputs"
        for name in task.body.inputs:
            env[input_variable(name)] = f"{directory}/inputs/{file_name(name)}"
    return env


def input_variable(name: str) -> str:
    """YARD_INPUT_TRAIN_DATA for "train-data"."""
    return "YARD_INPUT_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def file_name(name: str) -> str:
    """An input's name as that of a file: never a path."""
    return re.sub(r"[^\w.+-]", "_", name).lstrip(".") or "_"
