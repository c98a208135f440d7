"""Local addresses in the language: who has them, under which numbers, and what is refused (S3.7)."""

from __future__ import annotations

import pytest

from modelyard.training import Framework, Identity, Reason
from modelyard.training.plans.preview import placeholders
from modelyard.training.rendering.forwards import FORWARDS_MOST, local_ip
from tests.support.training import framework, planned, refused, refused_framework

MINE = """\
kind: Framework
id: mine
roles:
  ps:
    count: {default: 2, min: 1, max: 3, elastic: true}
    service: {ports: {rpc: auto, web: auto}, forward: true}
  worker:
    count: {default: 2, min: 1, max: 9}
    service: {ports: {net: auto}}
    functions:
      create:
        env:
          FIRST: ${roles.ps[0].local.rpc}
          ALL: ${join(roles.ps.local.rpc)}
          HOST: ${roles.ps[1].local_ip.web}
          PORT: ${roles.ps[1].local_port.web}
job_status: {succeeded: worker}
"""
JOB = "kind: Job\nframework: mine\nargv: [python, train.py]\n"


@pytest.fixture
def mine() -> Framework:
    return framework(MINE)


def env_of(
    text: str, own: Framework, role: str = "worker", counts: dict[str, int] | None = None
) -> dict[str, str]:
    plan, who = planned(text, own), Identity(id="j-7")
    at = plan.surroundings(who, placeholders(plan, who), counts)
    return plan.launch(at, role, 0).processes[0].env


def test_each_port_of_each_instance_has_an_ip_of_its_own_at_the_port_of_who_connects(mine: Framework) -> None:
    env = env_of(JOB, mine)
    assert env["FIRST"] == "127.64.0.1:19999"
    assert env["ALL"] == "127.64.0.1:19999,127.64.0.3:19999"
    assert (env["HOST"], env["PORT"]) == ("127.64.0.4", "19999")


def test_count_that_changes_within_its_bounds_moves_nobody(mine: Framework) -> None:
    text = JOB + "roles: {worker: {forward: true, env: {W: '${self.local.net}'}}}\n"
    assert env_of(text, mine)["W"] == env_of(text, mine, counts={"ps": 3})["W"] == "127.64.0.7:19999"


def test_job_forwards_a_role_of_its_own_accord_and_takes_it_back(mine: Framework) -> None:
    assert planned(JOB, mine).forwarded.keys() == {"ps"}
    assert planned(JOB + "roles: {worker: {forward: true}}\n", mine).forwarded.keys() == {"ps", "worker"}
    (problem,) = refused(JOB + "roles: {ps: {forward: false}}\n", mine)
    assert problem.reason is Reason.BAD_EXPRESSION and "ps has no local addresses" in problem.message


def test_without_forward_a_local_address_is_no_name() -> None:
    (problem, *_) = refused_framework(MINE.replace(", forward: true", ""))
    assert problem.reason is Reason.UNKNOWN_NAME and "ps has no local addresses" in problem.message
    assert "forward: true" in problem.next_step


def test_unknown_port_of_a_local_address_is_named() -> None:
    (problem,) = refused_framework(MINE.replace("local.rpc}\n", "local.rcp}\n", 1))
    assert problem.reason is Reason.UNKNOWN_PORT and "rpc" in problem.next_step


def test_role_without_ports_cannot_be_forwarded(mine: Framework) -> None:
    text = "kind: Job\nframework: plain\nargv: [x]\nroles: {worker: {forward: true}}\n"
    (problem,) = refused(text)
    assert problem.path == "roles.worker.forward" and problem.reason is Reason.CONTRADICTION


def test_more_local_addresses_than_a_process_can_keep_are_refused(mine: Framework) -> None:
    own = framework(MINE.replace("max: 9}", "max: 9000, elastic: true}"))
    (problem,) = refused(JOB + "roles: {worker: {forward: true}}\n", own)
    assert problem.reason is Reason.TOO_LARGE and str(FORWARDS_MOST) in problem.next_step


def test_jobs_without_forward_ask_for_nothing() -> None:
    assert not planned("kind: Job\nframework: pytorch-ddp\nargv: [python, train.py]\n").forwarded


def test_local_ips_are_loopback_however_many_there_are() -> None:
    assert local_ip(0) == "127.64.0.1" and local_ip(255) == "127.64.1.0"
    assert local_ip(FORWARDS_MOST).startswith("127.64.")
