"""Functions of a framework that are a package's code: what they answer is an event, and is remembered. Pure.

The machine asks when it comes to a point where it needs an answer, leaves everything there as it is, and comes to the
same point again when the answer is there. What was asked is not on disk: it follows from the state, and is asked again.
"""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.training.policies.readiness import ReadinessKind
from modelyard.training.policies.restarts import Action, Ending, Purse, Verdict
from modelyard.training.policies.status import Counts, RoleState
from modelyard.training.rendering.scope import Surroundings
from services.trainer.jobs.acts import Act
from services.trainer.model import PLACED, InstanceState
from services.trainer.state.effects import AskFunction
from services.trainer.state.jobs import Instance
from services.trainer.state.questions import Answer, Question

REASON = "PLUGIN_FAILED"
AGAIN_MS = 1_000
"""After a "no" of a function that judges readiness."""


def is_coded(act: Act, role: str, function: str) -> bool:
    """Whether the function of that role is a package's code."""
    planned = act.plan.role(role)
    return planned is not None and function in planned.role.coded


def _ask(act: Act, question: Question, *arguments: Any) -> Answer | None:
    """What is known; None: it is asked, and the job is followed up with the answer."""
    known = act.live.answers.get(question.key)
    if known is not None and known.question == question:
        return known
    _wish(act, question, *arguments)
    return None


def _wish(act: Act, question: Question, *arguments: Any) -> None:
    if act.live.asked.get(question.key) != question:
        act.live.asked[question.key] = question
        wish = AskFunction(act.job.number, act.plan.framework.id, question, tuple(arguments))
        act.effects.wishes.append(wish)


def answered(act: Act, question: Question, value: Any, error: str) -> None:
    """Answers to what is not asked any more are nothing."""
    if act.live.asked.get(question.key) != question:
        return
    del act.live.asked[question.key]
    act.live.answers[question.key] = Answer(question, value, error, act.now)
    if question.function == "check" and value:
        _note_sign(act, question)


def create(act: Act, instance: Instance, epoch: int, at: Surroundings) -> Answer | None:
    """A Launch; the addresses that it was made with are those of the question."""
    question = Question("create", instance.role, instance.index, (epoch, act.job.address_revision))
    return _ask(act, question, _role(act, instance.role), at, instance.index)


def restart(act: Act, instance: Instance, ending: Ending, purse: Purse) -> Answer | None:
    """A Verdict; a function that fails lets nothing start again."""
    question = Question("restart", instance.role, instance.index, (instance.epoch, ending))
    found = _ask(act, question, _role(act, instance.role), ending, purse)
    if found is None or not found.error:
        return found
    return msgspec.structs.replace(found, value=Verdict(action=Action.FAIL, reason=REASON, purse=purse))


def status(act: Act, role: str, counts: Counts) -> Answer | None:
    """A RoleState."""
    return _ask(act, Question("status", role, -1, counts), _role(act, role), counts)


def job_status(act: Act, states: dict[str, RoleState]) -> Answer | None:
    """An Outcome, or None."""
    return _ask(act, Question("job_status", "", -1, tuple(sorted(states.items(), key=str))), states)


def _role(act: Act, name: str) -> Any:
    planned = act.plan.role(name)
    assert planned is not None
    return planned.role


# Readiness by a function: asked again and again until it says yes


def look(act: Act, surroundings: Surroundings) -> None:
    """Asks of everybody who runs and has not shown a sign that only a function can see."""
    for planned in act.plan.roles:
        numbers = _numbers(act, planned.name)
        for instance in act.live.of_role(planned.name) if numbers else ():
            if instance.is_started and instance.state is InstanceState.RUNNING:
                for number in numbers:
                    if number not in instance.signs:
                        _look_at(act, instance, number, surroundings)


def is_looking(act: Act) -> bool:
    """Whether any role is judged by a function now."""
    return act.job.state in PLACED and any("check" in planned.role.coded for planned in act.plan.roles)


def _numbers(act: Act, role: str) -> list[int]:
    signs = enumerate(act.plan.signs(role))
    return [number for number, sign in signs if sign.kind is ReadinessKind.FUNCTION]


def _look_at(act: Act, instance: Instance, number: int, at: Surroundings) -> None:
    question = Question("check", instance.role, instance.index, (instance.epoch, number))
    known = act.live.answers.get(question.key)
    if known is not None and known.question == question and act.now - known.time_ms < AGAIN_MS:
        return
    function = act.plan.signs(instance.role)[number].function
    _wish(act, question, _role(act, instance.role), at, instance.index, function)


def _note_sign(act: Act, question: Question) -> None:
    instance = act.live.instances.get((question.role, question.index))
    epoch, number = question.content
    if instance is not None and instance.epoch == epoch and number not in instance.signs:
        instance.signs = [*instance.signs, number]
        act.touch_instance(instance)


def complaint_of(act: Act, function: str, instance: Instance) -> str:
    """What it failed with last."""
    found = act.live.answers.get((function, *instance.key))
    return found.error if found is not None else ""


def complaint(act: Act, role: str) -> str:
    """What a role's function that judges readiness failed with last; empty: it says no."""
    for instance in act.live.of_role(role):
        found = act.live.answers.get(("check", *instance.key))
        if found is not None and found.error:
            return found.error
    return ""
