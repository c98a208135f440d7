"""S0.1 to S0.8, one test each, on two agents: through the command line, and through the contract by grpcurl.

This is where to look whether a requirement is met; the other proofs of this directory go into each one's depth.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doors import CommandLine, Contract, Document, Door
from tests.support.grpcurl import Refused
from tests.support.receiver import receiver
from tests.support.wait import wait_until_sync
from tests.support.yard import Yard, new_yard

FIRST, SECOND = "node-1", "node-2"
SUCCEEDED = "TASK_STATE_SUCCEEDED"


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(is_up=False) as made:
        up = made.up("--notify-allow", "127.0.0.0/8")
        assert up.code == 0, up.stderr
        yield made
        assert made.cli("down").code == 0
        assert not made.left_over(), made.left_over()


@pytest.fixture(params=[CommandLine, Contract], ids=["cli", "grpcurl"])
def door(request: pytest.FixtureRequest, yard: Yard) -> Door:
    made: Door = request.param(yard)
    return made


def runs(door: Door, task_id: str) -> Document:
    """The task once it runs."""
    is_so = lambda: (task := door.task(task_id))["state"] == "TASK_STATE_RUNNING" and task  # noqa: E731
    found = wait_until_sync(is_so, f"{task_id} runs", timeout_s=30)
    assert isinstance(found, dict)
    return found


def ratios(nodes: list[Document]) -> dict[str, float]:
    """What placement counts of each node, where no measurement says more than all of it."""
    return {node["node"]: round(min(node.get("occupancy_ratio", 0.0), 1.0), 6) for node in nodes}


def test_command_becomes_a_task_on_one_agent_and_its_result_returns(door: Door) -> None:  # S0.1
    task_id = door.submit(["sh", "-c", "echo from $YARD_TASK_ID; exit 3"], {"cpu": 0.1})
    ended = door.wait(task_id)
    assert (ended["state"], ended["error"]["exit_code"]) == ("TASK_STATE_FAILED", 3)
    assert ended["node"] in (FIRST, SECOND)
    assert door.stdout(task_id) == f"from {task_id}\n"
    assert door.wait(door.submit(["true"], {"cpu": 0.1}))["state"] == SUCCEEDED


def test_command_names_its_agent_or_what_the_agent_must_be(door: Door) -> None:  # S0.2
    for node in (FIRST, SECOND):
        assert door.wait(door.submit(["true"], {"node": node}))["node"] == node
        door.label(node, "zone", f"of-{node}")
    for node in (FIRST, SECOND):
        assert door.wait(door.submit(["true"], {"labels": {"zone": f"of-{node}"}}))["node"] == node
    with pytest.raises(Refused, match="CANNOT_BE_PLACED"):
        door.submit(["true"], {"labels": {"zone": "nowhere"}})


@pytest.mark.parametrize("busy", [FIRST, SECOND])
def test_less_occupied_of_two_that_fit_gets_the_task(door: Door, busy: str) -> None:  # S0.3
    holder = door.submit(["sleep", "600"], {"node": busy, "cpu": 3.5})
    try:
        runs(door, holder)
        ended = door.wait(door.submit(["true"], {"cpu": 0.1}))
        assert {ended["node"]} == {FIRST, SECOND} - {busy}
    finally:
        door.cancel(holder)
        door.wait(holder)


def test_choice_is_made_with_the_figures_of_the_stated_window(door: Door) -> None:  # S0.4
    """What is shown of the window before a choice is what the choice is explained with."""
    for window_s in (1, 10, 60):
        nodes = door.occupancy(window_s)
        assert {node["window_s"] for node in nodes} == {window_s}
        for node in nodes:
            for resource in node["resources"]:
                assert [window["window_s"] for window in resource["windows"]] == [1, 10, 60]

    agreed: set[str] = set()

    def agrees() -> bool:
        """A beat that comes between the look and the choice changes a node's figures: then it is looked at again."""
        shown = ratios(door.occupancy(10))
        task_id = door.submit(["sleep", "600"], {"cpu": 0.01})
        decision = door.explain(task_id)["placement"]
        door.cancel(task_id)
        door.wait(task_id)
        counted = ratios(decision["candidates"])
        assert counted[decision["node"]] == min(counted.values())
        agreed.update(node for node in shown if 0 < shown[node] == counted[node])
        return agreed == {FIRST, SECOND}

    wait_until_sync(agrees, "the choice is made with what was shown", timeout_s=60)


def test_client_looks_holds_and_directs_its_command(door: Door, yard: Yard) -> None:  # S0.5
    seen = {node["node"]: node for node in door.occupancy(10)}
    assert set(seen) == {FIRST, SECOND}
    for node in (FIRST, SECOND):
        quote = door.quote(node, 2)
        assert [room["node"] for room in quote["rooms"]] == [node]
        held = next(n for n in door.occupancy(10) if n["node"] == node)
        assert any(task.get("is_quote") and task["resources"]["cpu"] == 2 for task in held["tasks"])
        ended = door.wait(door.submit(["true"], {"quote": quote["id"], "cpu": 2}))
        assert (ended["state"], ended["node"]) == (SUCCEEDED, node)
    with pytest.raises(Refused, match="all of its rooms are in use"):
        door.submit(["true"], {"quote": quote["id"], "cpu": 2})
    brief = door.quote(FIRST, 1, ttl="1s")["id"]
    wait_until_sync(lambda: not holds_quote(door), "its time is over")
    with pytest.raises(Refused, match="the capacity was held until"):
        door.submit(["true"], {"quote": brief})
    own = door.quote(FIRST, 1)["id"]
    with pytest.raises(Refused, match="there is no quote"):
        type(door)(yard, stranger(yard)).submit(["true"], {"quote": own})  # type: ignore[call-arg]
    assert door.wait(door.submit(["true"], {"quote": own}))["node"] == FIRST


def holds_quote(door: Door) -> bool:
    return any(task.get("is_quote") for node in door.occupancy(10) for task in node.get("tasks", []))


def stranger(yard: Yard) -> str:
    """The token of another account."""
    if "stranger" not in yard.cli("accounts", "ls").stdout:
        yard.json("accounts", "add", "stranger")
    token: str = yard.json("tokens", "add", "--account", "stranger")["secret"]
    return token


def test_model_is_invoked_with_the_information_that_came_along(door: Door, tmp_path: Path) -> None:  # S0.6
    attached = tmp_path / "weights.txt"
    attached.write_text("attached\n")
    script = 'cat "$YARD_PARAMS"; echo; cat "$YARD_INPUT_WORD"; echo; cat weights.txt'
    for node in (FIRST, SECOND):
        task_id = door.submit(
            ["sh", "-c", script],
            {"node": node, "params": {"rate": 0.5}, "inputs": {"word": "inline"}, "attach": attached},
        )
        assert door.stdout(task_id) == '{"rate":0.5}\ninline\nattached\n'


def test_command_that_waits_or_runs_is_modified_and_goes_on_accordingly(
    door: Door, tmp_path: Path
) -> None:  # S0.7
    script = f"""
        trap 'cat "$YARD_PARAMS" > {tmp_path}/heard' USR1
        cat "$YARD_PARAMS" > {tmp_path}/begun
        until [ -s {tmp_path}/heard ]; do sleep 0.05; done
        exit 0
    """
    waiting = door.submit(["sh", "-c", 'cat "$YARD_PARAMS"'], {"params": {"goal": 1}, "hold": True})
    assert door.modify(waiting, params={"goal": 2}, priority=7) == {
        "params": "APPLIED",
        "priority": "APPLIED",
    }
    assert door.task(waiting)["spec"]["priority"] == 7
    door.cancel(waiting)
    for node in (FIRST, SECOND):
        for name in ("begun", "heard"):
            (tmp_path / name).unlink(missing_ok=True)
        task_id = door.submit(
            ["bash", "-c", script], {"node": node, "params": {"goal": 1}, "modify_signal": "SIGUSR1"}
        )
        wait_until_sync((tmp_path / "begun").exists, "it runs", timeout_s=30)
        assert door.modify(task_id, params={"goal": 2}) == {"params": "APPLIED"}
        ended = door.wait(task_id)
        assert ended["state"] == SUCCEEDED, ended
        assert json.loads((tmp_path / "heard").read_text()) == {"goal": 2}


@pytest.mark.asyncio
async def test_result_goes_to_the_client_and_to_its_contact(door: Door) -> None:  # S0.8
    name = f"team-{type(door).__name__.lower()}"
    async with receiver() as hook:
        await asyncio.to_thread(door.contact, name, hook.url)
        for count, node in enumerate((FIRST, SECOND), 2):
            task_id = await asyncio.to_thread(
                door.submit, ["sh", "-c", "echo done"], {"node": node, "contact": name}
            )
            assert (await asyncio.to_thread(door.wait, task_id))["state"] == SUCCEEDED
            assert await asyncio.to_thread(door.stdout, task_id) == "done\n"
            document = (await hook.wait(count))[-1].document
            assert (document["event"], document["task"]["id"]) == ("task.succeeded", task_id)
            assert document["task"]["node"] == node
