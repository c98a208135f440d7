"""Success by evidence: what is asked for besides exit codes, and what follows where it is not there (S3.8). Pure.

Agents look at files when all processes of an instance have ended, and at lines to the last one; both are told before
the end is. So an end never overtakes what it is judged by.
"""

from __future__ import annotations

import msgspec

from modelyard.training import Ending
from modelyard.training.jobs.evidence import Item, lacking
from modelyard.training.policies.restarts import Action, Cause, Purse, decide
from services.trainer.jobs import facts
from services.trainer.jobs.acts import Act
from services.trainer.model import Exit
from services.trainer.state.jobs import Instance

REASON = "NO_EVIDENCE"


def lacks(act: Act) -> list[Item]:
    """What is asked for and was not seen of anybody in its present epoch."""
    wanted = act.plan.job.evidence
    if wanted == type(wanted)():
        return []
    return lacking(wanted, {role: facts.facts_of(act, role) for role in act.job.counts})


def judged(act: Act, instance: Instance, found: Exit) -> Exit:
    """An exit with 0 of the last who could have brought what lacks has another cause, where its role's way with
    failures has something to say about that; else it stands, and the job is judged at its end."""
    if found.cause is not Cause.SUCCESS:
        return found
    mine = [item for item in lacks(act) if item.role in ("", instance.role) and _is_last(act, instance, item)]
    if not mine or not _is_spoken_of(act, instance, found):
        return found
    return msgspec.structs.replace(found, cause=Cause.NO_EVIDENCE, message=mine[0].lack)


def _is_last(act: Act, instance: Instance, item: Item) -> bool:
    return all(
        one.state.has_ended
        for one in act.live.instances.values()
        if one is not instance and item.role in ("", one.role)
    )


def _is_spoken_of(act: Act, instance: Instance, found: Exit) -> bool:
    planned = act.plan.role(instance.role)
    assert planned is not None
    ending = Ending(cause=Cause.NO_EVIDENCE, matched=frozenset(found.matched))
    verdict = decide(planned.role.restarts, ending, Purse())
    return verdict.action is Action.RESTART or verdict.reason in ("RULE", "RESTART_BUDGET")
