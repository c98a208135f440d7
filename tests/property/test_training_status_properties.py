"""Status, readiness and restarts are functions of the present, compared with a model that counts by hand."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from itertools import pairwise
from random import Random

import networkx
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.training import (
    ALL,
    ANY,
    FIRST,
    NEVER,
    Action,
    Cause,
    Counts,
    Dependency,
    Ending,
    Facts,
    JobPolicy,
    Outcome,
    Purse,
    Quorum,
    Readiness,
    ReadinessKind,
    Restart,
    RolePolicy,
    RoleState,
)  # fmt: skip
from modelyard.training.policies.quorum import QuorumKind, quorum
from modelyard.training.policies.readiness import cycle, is_met, unmet
from modelyard.training.policies.restarts import decide
from modelyard.training.policies.status import condition, job_state, role_state

EXAMPLES = settings(max_examples=400, deadline=None)


class Is(Enum):
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


INSTANCES = st.lists(st.sampled_from(Is), max_size=12)
QUORUMS = st.one_of(
    st.sampled_from([ALL, ANY, FIRST, NEVER]),
    st.integers(1, 14).map(lambda n: Quorum(QuorumKind.NUMBER, n)),
    st.integers(1, 100).map(lambda n: Quorum(QuorumKind.SHARE, n)),
)
POLICIES = st.builds(RolePolicy, succeeded=QUORUMS, failed=QUORUMS, running=QUORUMS, is_endless=st.booleans())


def counts_of(instances: list[Is]) -> Counts:
    numbers = Counter(instances)
    first = instances[0] if instances else None
    return Counts(
        **{each.value: numbers[each] for each in Is}, first_running=first is Is.RUNNING,
        first_succeeded=first is Is.SUCCEEDED, first_failed=first is Is.FAILED,
    )  # fmt: skip


def enough(wanted: Quorum, instances: list[Is], good: set[Is]) -> bool:
    """As a person would count."""
    hits = [each in good for each in instances]
    if wanted.kind is QuorumKind.FIRST:
        return hits[0]
    if wanted.kind is QuorumKind.NUMBER:
        return sum(hits) >= wanted.value or all(hits)
    if wanted.kind is QuorumKind.SHARE:
        return any(hits) and 100 * sum(hits) >= wanted.value * len(hits)
    return wanted.kind is QuorumKind.ALL and all(hits)


def modelled(policy: RolePolicy, instances: list[Is]) -> RoleState:
    if not instances:
        return RoleState.STOPPED
    if not policy.is_endless and enough(policy.succeeded, instances, {Is.SUCCEEDED}):
        return RoleState.SUCCEEDED
    if Is.FAILED in instances and enough(policy.failed, instances, {Is.FAILED}):
        return RoleState.FAILED
    if Is.RESTARTING in instances:
        return RoleState.RESTARTING
    if set(instances) == {Is.STOPPED}:
        return RoleState.STOPPED
    up = {Is.RUNNING, Is.SUCCEEDED}
    if up & set(instances) and enough(policy.running, instances, up):
        return RoleState.RUNNING
    return RoleState.WAITING if set(instances) == {Is.WAITING} else RoleState.STARTING


@EXAMPLES
@given(POLICIES, INSTANCES)
def test_role_state_is_what_a_person_would_count(policy: RolePolicy, instances: list[Is]) -> None:
    # S3.9
    assert role_state(policy, counts_of(instances)) is modelled(policy, instances)


NEXT = {
    Is.WAITING: (Is.STARTING, Is.STOPPED),
    Is.STARTING: (Is.RUNNING, Is.FAILED, Is.STOPPING),
    Is.RUNNING: (Is.SUCCEEDED, Is.FAILED, Is.RESTARTING, Is.STOPPING),
    Is.RESTARTING: (Is.STARTING, Is.WAITING),
    Is.STOPPING: (Is.STOPPED, Is.RESTARTING),
}
"""What may become of an instance; the others have ended."""


def test_role_state_agrees_with_the_model_over_ten_thousand_orders_of_events() -> None:
    # S3.9
    chance = Random(9)
    kinds = [ALL, ANY, FIRST, NEVER, Quorum(QuorumKind.NUMBER, 2), Quorum(QuorumKind.SHARE, 50)]
    for _ in range(10_000):
        succeeded, failed, running = (chance.choice(kinds) for _ in range(3))
        policy = RolePolicy(
            succeeded=succeeded, failed=failed, running=running, is_endless=chance.random() < 0.3
        )
        instances = [Is.WAITING] * chance.randint(1, 5)
        for _ in range(12):
            index = chance.randrange(len(instances))
            instances[index] = chance.choice(NEXT.get(instances[index], (instances[index],)))
            assert role_state(policy, counts_of(instances)) is modelled(policy, instances), (
                policy,
                instances,
            )


@EXAMPLES
@given(POLICIES, INSTANCES, st.randoms())
def test_role_state_does_not_depend_on_the_order_of_the_others(
    policy: RolePolicy, instances: list[Is], chance
) -> None:  # type: ignore[no-untyped-def]
    # S3.9
    others = instances[1:]
    chance.shuffle(others)
    assert role_state(policy, counts_of(instances)) is role_state(policy, counts_of(instances[:1] + others))


@EXAMPLES
@given(POLICIES, INSTANCES, st.data())
def test_role_that_has_succeeded_stays_so_whatever_becomes_of_the_rest(
    policy: RolePolicy, instances: list[Is], data: st.DataObject
) -> None:
    # S3.9: what has succeeded is not made again (I4), so success can only grow.
    if role_state(policy, counts_of(instances)) is not RoleState.SUCCEEDED:
        return
    later = [each if each is Is.SUCCEEDED else data.draw(st.sampled_from(Is)) for each in instances]
    assert role_state(policy, counts_of(later)) is RoleState.SUCCEEDED


@EXAMPLES
@given(POLICIES, INSTANCES)
def test_endless_role_is_never_said_to_succeed(policy: RolePolicy, instances: list[Is]) -> None:
    # S3.9
    endless = RolePolicy(
        succeeded=policy.succeeded, failed=policy.failed, running=policy.running, is_endless=True
    )
    assert role_state(endless, counts_of(instances)) is not RoleState.SUCCEEDED


ROLES = ("a", "b", "c")
CONDITIONS = st.recursive(
    st.sampled_from(ROLES),
    lambda inner: st.builds(
        lambda word, parts: f"{word}({', '.join(parts)})",
        st.sampled_from(["all", "any"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=8,
)


@EXAMPLES
@given(CONDITIONS, CONDITIONS, st.dictionaries(st.sampled_from(ROLES), st.sampled_from(RoleState)))
def test_job_outcome_follows_from_the_words_of_its_policy(
    succeeded: str, failed: str, states: dict[str, RoleState]
) -> None:
    # S3.9
    policy = JobPolicy(succeeded=condition(succeeded, ROLES), failed=condition(failed, ROLES))

    def holds(text: str, wanted: RoleState) -> bool:
        def judge(word: object) -> bool | None:
            if isinstance(word, str):
                return states[word] is wanted if word in states else None
            operator, parts = word  # type: ignore[misc]
            found = [verdict for verdict in map(judge, parts) if verdict is not None]
            return (all if operator == "all" else any)(found) if found else None

        names = {name: name for name in ROLES}
        tree = eval(text, {"all": lambda *parts: ("all", parts), "any": lambda *parts: ("any", parts)}, names)
        return bool(judge(tree))

    expected = (
        Outcome.SUCCEEDED if holds(succeeded, RoleState.SUCCEEDED)
        else Outcome.FAILED if holds(failed, RoleState.FAILED) else None
    )  # fmt: skip
    assert job_state(policy, states) is expected


SIGN = Readiness(kind=ReadinessKind.LISTENING, port="rpc")


@EXAMPLES
@given(QUORUMS, st.lists(st.booleans(), min_size=1, max_size=12))
def test_edge_is_met_when_enough_show_its_sign(wanted: Quorum, shown: list[bool]) -> None:
    # S3.5
    peers = [Facts(is_placed=True, seen=frozenset([SIGN]) if has else frozenset()) for has in shown]
    edge = Dependency(role="a", until=SIGN, quorum=wanted)
    assert unmet(edge, peers) == [index for index, has in enumerate(shown) if not has]
    assert is_met(edge, peers) is enough(
        wanted, [Is.RUNNING if has else Is.WAITING for has in shown], {Is.RUNNING}
    )


@EXAMPLES
@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_cycle_is_found_exactly_where_there_is_one(pairs: set[tuple[int, int]]) -> None:
    # S3.5
    graph = networkx.DiGraph([(str(a), str(b)) for a, b in pairs])
    edges = {node: [Dependency(role=other, until=SIGN) for other in graph.successors(node)] for node in graph}
    found = cycle(edges)
    assert bool(found) is not networkx.is_directed_acyclic_graph(graph)
    if found:
        assert found[0] == found[-1]
        assert all(graph.has_edge(a, b) for a, b in pairwise(found))


RESTARTS = st.builds(
    Restart,
    when=st.frozensets(st.sampled_from(Cause)),
    uncounted=st.frozensets(st.sampled_from(Cause)),
    most=st.integers(-1, 4),
    backoff_s=st.floats(0, 5),
    backoff_most_s=st.floats(5, 30),
)


@EXAMPLES
@given(
    RESTARTS, st.lists(st.sampled_from([cause for cause in Cause if cause is not Cause.SUCCESS]), max_size=12)
)
def test_restarts_never_spend_more_than_their_budget(policy: Restart, causes: list[Cause]) -> None:
    # S3.8, I3
    purse, counted = Purse(), 0
    for cause in causes:
        verdict = decide(policy, Ending(cause=cause), purse)
        assert verdict == decide(policy, Ending(cause=cause), purse)
        if verdict.action is not Action.RESTART:
            assert cause not in policy.when or (cause not in policy.uncounted and counted == policy.most)
            return
        assert cause in policy.when
        assert verdict.is_counted is (cause not in policy.uncounted)
        assert 0 <= verdict.delay_s <= policy.backoff_most_s
        counted += verdict.is_counted
        purse = verdict.purse
        assert purse.used == counted
        assert policy.most < 0 or counted <= policy.most


@EXAMPLES
@given(st.text(max_size=8))
def test_quorum_in_words_is_read_back_as_it_is_shown(text: str) -> None:
    try:
        found = quorum(text)
    except ValueError as error:
        assert "write" in str(error)
    else:
        assert quorum(str(found)) == found
