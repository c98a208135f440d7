"""Operators that call services do so with the token of their task: whatever they may call admits tasks.

Also what they call in their bad hours only, which no run of them on a good day tries. Found in the code: from what an
operator uses of the client, over whatever functions of this project that calls, to the methods of stubs.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import modelyard.catalog
from modelyard.client.aio import Client
from services.chassis.security import TASK
from services.models.rules import RULES as MODELS
from services.scheduler.rules import RULES as SCHEDULER
from services.store.rules import RULES as STORE
from services.trainer.rules import RULES as TRAINER

ROLES = {
    rpc.rpartition("/")[2]: roles
    for table in (SCHEDULER, STORE, TRAINER, MODELS)
    for rpc, roles in table.items()
}
CLIENT = Client("127.0.0.1:1")
Calls = set[tuple[str, str]]


def test_whatever_operators_call_admits_the_tokens_of_tasks() -> None:
    used = _used()
    assert {("jobs", "create"), ("jobs", "logs"), ("models", "push"), ("deployments", "deploy")} <= used
    called = {rpc: f"yard.{group}.{method}" for group, method in sorted(used) for rpc in _rpcs(group, method)}
    assert {"CreateJob", "PutArtifact", "CreateModelVersion", "ModelInfer", "Deploy"} <= set(called)
    assert {rpc: by for rpc, by in called.items() if TASK not in ROLES[rpc]} == {}


def _used() -> Calls:
    """Groups of the client and their methods, as yard.jobs.create is written in the catalogue."""
    found: Calls = set()
    for file in Path(modelyard.catalog.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
                words = ast.unparse(node).split(".")
                if words[-3].endswith("yard") and hasattr(Client, words[-2]):
                    found.add((words[-2], words[-1]))
    return found


def _rpcs(group: str, method: str) -> set[str]:
    """The RPCs that a method of the client may come to."""
    owner = type(getattr(CLIENT, group))
    found: set[str] = set()
    seen: set[Callable[..., Any]] = set()
    waiting = [getattr(owner, method)]
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
            if isinstance(node, ast.Attribute) and node.attr in ROLES:
                found.add(node.attr)
            waiting += _called(node, function, owner)
    return found


def _called(node: ast.AST, function: Callable[..., Any], owner: type) -> Iterator[Callable[..., Any]]:
    """Functions of this project that a part of a function names."""
    known: dict[str, Any] = function.__globals__  # type: ignore[attr-defined]
    named: list[Any] = []
    if isinstance(node, ast.Name):
        named = [known.get(node.id)]
    elif isinstance(node, ast.ImportFrom) and node.module:
        named = [getattr(importlib.import_module(node.module), one.name, None) for one in node.names]
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        named = [getattr(owner if node.value.id == "self" else known.get(node.value.id), node.attr, None)]
    return (one for one in named if inspect.isfunction(one) and one.__module__.startswith("modelyard."))
