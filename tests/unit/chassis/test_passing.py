"""A refusal of another service reaches one's own caller as it was."""

from __future__ import annotations

import pytest

from modelyard.errors import CallRefused, ConnectionFailed
from services.chassis.errors import NotFound, ServiceError, Unavailable
from services.chassis.peers.passing import passed_on


def test_refusal_keeps_code_reason_field_and_next_step() -> None:
    refused = CallRefused(
        "no contact 'x'",
        code="NOT_FOUND",
        reason="CONTACT_NOT_FOUND",
        field="notification.contact",
        next_step="ls",
    )
    passed = passed_on(refused)
    assert isinstance(passed, NotFound)
    assert (passed.code, passed.reason, passed.message) == (
        "NOT_FOUND",
        "CONTACT_NOT_FOUND",
        "no contact 'x'",
    )
    assert (passed.field, passed.next_step) == ("notification.contact", "ls")
    assert passed_on(refused, "told").field == "told"
    assert NotFound.reason != "CONTACT_NOT_FOUND"


@pytest.mark.parametrize("code", ["UNAVAILABLE", "UNAUTHENTICATED", "INTERNAL", "UNKNOWN"])
def test_fault_between_services_is_that_one_cannot_answer_now(code: str) -> None:
    passed: ServiceError = passed_on(
        ConnectionFailed("it cannot be reached", code=code, reason="CONNECTION_FAILED")
    )
    assert isinstance(passed, Unavailable)
    assert passed.message == "it cannot be reached"
