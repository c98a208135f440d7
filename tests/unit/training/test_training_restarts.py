"""What follows when an instance ends: rules in their order, scopes, budgets that fill up again (S3.8)."""

from __future__ import annotations

import pytest

from modelyard.training import Action, Cause, Ending, Purse, ScopeKind
from modelyard.training.policies.restarts import Restart, decide
from tests.support.training import planned


def restarts(text: str) -> Restart:
    plan = planned(f"{{kind: Job, framework: plain, argv: [x], roles: {{worker: {{restart: {text}}}}}}}")
    return plan.roles[0].role.restarts


RULES = """{when: [exit, signal], scope: instance, max: 2, rules: [
    {exit: [3, "10-12"], do: fail}, {signal: KILL, avoid_node: true}, {log: "CUDA error", scope: job, counted: false},
    {exit: 99, do: succeed}, {cause: node_lost, do: fail}]}"""


@pytest.mark.parametrize(
    ("ending", "action", "scope"),
    [
        (Ending(cause=Cause.EXIT, exit_code=3), Action.FAIL, None),
        (Ending(cause=Cause.EXIT, exit_code=11), Action.FAIL, None),
        (Ending(cause=Cause.EXIT, exit_code=13), Action.RESTART, ScopeKind.INSTANCE),
        (Ending(cause=Cause.EXIT, exit_code=99), Action.SUCCEED, None),
        (Ending(cause=Cause.SIGNAL, signal=9), Action.RESTART, ScopeKind.INSTANCE),
        (Ending(cause=Cause.SIGNAL, signal=11), Action.RESTART, ScopeKind.INSTANCE),
        (Ending(cause=Cause.NODE_LOST), Action.FAIL, None),
        (Ending(cause=Cause.HANG), Action.FAIL, None),
        (
            Ending(cause=Cause.EXIT, exit_code=1, matched=frozenset({"CUDA error"})),
            Action.RESTART,
            ScopeKind.JOB,
        ),
        (Ending(cause=Cause.SUCCESS), Action.SUCCEED, None),
    ],
)
def test_first_rule_that_matches_decides(ending: Ending, action: Action, scope: ScopeKind | None) -> None:
    verdict = decide(restarts(RULES), ending, Purse())
    assert verdict.action is action
    if scope is not None:
        assert verdict.scope.kind is scope


def test_rule_avoids_a_node_and_leaves_the_budget_alone_where_it_says_so() -> None:
    policy = restarts(RULES)
    assert decide(policy, Ending(cause=Cause.SIGNAL, signal=9), Purse()).avoid_node
    free = decide(policy, Ending(cause=Cause.EXIT, matched=frozenset({"CUDA error"})), Purse(used=2))
    assert (free.action, free.is_counted, free.purse.used) == (Action.RESTART, False, 2)


def test_spent_budget_fails_and_names_itself() -> None:
    verdict = decide(restarts("{when: [exit], max: 2}"), Ending(cause=Cause.EXIT, exit_code=1), Purse(used=2))
    assert (verdict.action, verdict.reason) == (Action.FAIL, "RESTART_BUDGET")


def test_back_off_doubles_up_to_its_bound_and_begins_anew_after_peace() -> None:
    policy = restarts("{when: [exit], max: -1, backoff: [1s, 5s], reset_after: 1m}")
    purse, delays = Purse(), []
    for _ in range(5):
        verdict = decide(policy, Ending(cause=Cause.EXIT), purse)
        delays.append(verdict.delay_s)
        purse = verdict.purse
    assert delays == [1, 2, 4, 5, 5]
    rested = Purse(used=5, in_a_row=5, since_last_s=60)
    assert decide(policy, Ending(cause=Cause.EXIT), rested).delay_s == 1


def test_lost_instance_that_cannot_come_back_elsewhere_restarts_the_job() -> None:
    policy = restarts("{when: [node_lost], scope: instance, may_move: false}")
    assert decide(policy, Ending(cause=Cause.NODE_LOST), Purse()).scope.kind is ScopeKind.JOB


def test_lost_node_is_not_counted_unless_said() -> None:
    policy = restarts("{when: [node_lost], max: 0}")
    assert decide(policy, Ending(cause=Cause.NODE_LOST), Purse()).action is Action.RESTART
    counted = restarts("{when: [node_lost], max: 0, uncounted: []}")
    assert decide(counted, Ending(cause=Cause.NODE_LOST), Purse()).action is Action.FAIL
