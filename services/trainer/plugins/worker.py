"""A process in which one package's framework answers: `python -m services.trainer.plugins.worker ENTRY_POINT`.

It is told to do one thing at a time, and is killed when it takes too long: nothing of it can hold up the trainer. It
ends with the trainer, however that ends. Knows no service.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import os
import pickle
import signal
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from modelyard.training import Framework, Launch, Plan, Refused, Role, Verdict
from modelyard.training.frameworks.catalogue import GROUP, loaded
from modelyard.training.frameworks.coded import as_data, with_code
from modelyard.training.plans.preview import previews
from modelyard.training.policies.status import Counts, Outcome, RoleState
from modelyard.training.rendering.scope import InstanceView, Surroundings
from services.trainer.plugins.probes import LookingProbe

_PACK = msgspec.msgpack.Encoder().encode
_PR_SET_PDEATHSIG = 1


class Answers:
    """What may be asked. Each gives bytes; what a package raises is its answer too."""

    def __init__(self, framework: Framework) -> None:
        self._framework = framework

    def load(self) -> bytes:
        return pickle.dumps(as_data(self._framework))

    def create(self, role: Role, at: Surroundings, index: int) -> bytes:
        return _PACK(_a(Launch, self._own(role).create(InstanceView(at, at.roles[role.name], index))))

    def restart(self, role: Role, ending: Any, purse: Any) -> bytes:
        return _PACK(_a(Verdict, self._own(role).restart(ending, purse)))

    def status(self, role: Role, counts: Counts) -> bytes:
        return _PACK(_a(RoleState, self._own(role).status(counts)))

    def job_status(self, states: Mapping[str, RoleState]) -> bytes:
        found = self._framework.status(states)
        return _PACK(None if found is None else _a(Outcome, found))

    def check(self, role: Role, at: Surroundings, index: int, function: str) -> bytes:
        view = InstanceView(at, at.roles[role.name], index)
        return _PACK(bool(asyncio.run(_checked(self._own(role), function, view))))

    def previews(self, plan: Plan, start: int, count: int) -> bytes:
        roles = tuple(msgspec.structs.replace(one, role=self._own(one.role)) for one in plan.roles)
        found = previews(msgspec.structs.replace(plan, roles=roles))
        return pickle.dumps(list(islice(found, start, start + count)))

    def _own(self, role: Role) -> Role:
        own = self._framework.role(role.name)
        return with_code(role, own) if own is not None else role


async def _checked(role: Role, function: str, view: InstanceView) -> Any:
    found = role.check(function, view, LookingProbe())
    return await found if inspect.isawaitable(found) else found


def _a(kind: type[Any], found: Any) -> Any:
    if not isinstance(found, kind):
        raise TypeError(f"it gave a {type(found).__name__}, and should give a {kind.__name__}")
    return found


def _words(error: BaseException) -> str:
    text = str(error)[:1_000]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _answer(answers: Answers, name: str, arguments: tuple[Any, ...]) -> tuple[bool, bytes]:
    function: Callable[..., bytes] = getattr(answers, name)
    try:
        return True, function(*arguments)
    # Whatever a package raises is told, and harms nobody.
    except Exception as error:
        return False, _words(error).encode()


def _framework(name: str) -> Framework:
    (point,) = [one for one in entry_points(group=GROUP) if one.name == name]
    return loaded(point)


def _read(file: BinaryIO) -> bytes:
    head = file.read(4)
    return file.read(int.from_bytes(head, "big")) if len(head) == 4 else b""


def _write(file: BinaryIO, is_answer: bool, content: bytes) -> None:
    file.write((len(content) + 1).to_bytes(4, "big") + bytes([is_answer]) + content)
    file.flush()


def main(name: str) -> None:
    """Until its input ends. The first thing that is told is whether the package could be loaded."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    out = os.fdopen(os.dup(1), "wb")
    # What a package prints is no answer.
    os.dup2(2, 1)
    try:
        answers = Answers(_framework(name))
        _write(out, True, answers.load())
    except Refused as refused:
        _write(out, False, "; ".join(one.message for one in refused.problems[:3]).encode())
        return
    except Exception as error:  # a package may raise anything when it is loaded
        _write(out, False, _words(error).encode())
        return
    while request := _read(sys.stdin.buffer):
        function, arguments = pickle.loads(request)
        _write(out, *_answer(answers, function, arguments))


if __name__ == "__main__":
    main(sys.argv[1])
