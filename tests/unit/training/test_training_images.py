"""Images that roles run in: read, laid over the job's, and refused with what else cannot be had."""

from __future__ import annotations

import pytest

from modelyard.training import Framework, Reason
from tests.support.training import framework, planned, refused

MINE = """\
kind: Framework
id: mine
roles:
  chief: {}
  worker: {count: {default: 2}}
job_status: {succeeded: chief}
"""
JOB = "kind: Job\nframework: mine\nargv: [train]\n"


@pytest.fixture
def mine() -> Framework:
    return framework(MINE)


def images(text: str, own: Framework) -> dict[str, str]:
    return {role.name: role.image for role in planned(text, own).roles}


def test_image_of_the_job_is_that_of_roles_which_name_none(mine: Framework) -> None:
    assert images(JOB, mine) == {"chief": "", "worker": ""}
    every = f"{JOB}environment: {{image: 'a:1'}}\n"
    assert images(every, mine) == {"chief": "a:1", "worker": "a:1"}
    own = f"{every}roles: {{chief: {{environment: {{image: b}}}}}}\n"
    assert images(own, mine) == {"chief": "b", "worker": "a:1"}
    mixed = f"{JOB}environment: {{requirements: [torch]}}\nroles: {{worker: {{environment: {{image: c}}}}}}\n"
    assert images(mixed, mine) == {"chief": "", "worker": "c"}


@pytest.mark.parametrize(
    ("said", "reason", "path"),
    [
        ("environment: {image: 'No Name'}", Reason.BAD_VALUE, "environment.image"),
        ("environment: {image: a, requirements: [torch]}", Reason.CONTRADICTION, "environment.image"),
        ("environment: {image: a, network: none}", Reason.UNKNOWN_FIELD, "environment.network"),
        ("roles: {chief: {environment: {image: a}, stdin: b}}", Reason.CONTRADICTION, "roles.chief.stdin"),
        (
            "roles: {chief: {environment: {image: a}, imports: [b]}}",
            Reason.CONTRADICTION,
            "roles.chief.imports",
        ),
    ],
)
def test_what_a_container_cannot_have_is_refused_at_its_place(
    mine: Framework, said: str, reason: Reason, path: str
) -> None:
    (problem,) = refused(f"{JOB}{said}\n", mine)
    assert (problem.reason, problem.path) == (reason, path)
    assert problem.next_step
