"""docs/errors.md lists every reason that a service can answer with, as the code has it: `python -m pytest` compares.

To bring the table up to date: `python tests/contract/test_errors_documented.py`.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "errors.md"

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

import services  # noqa: E402
from services.chassis import errors  # noqa: E402
from services.chassis.errors import ServiceError  # noqa: E402

HEAD = """# Errors

A refused call carries a gRPC code and `google.rpc.ErrorInfo` with a stable **reason** (domain `modelyard`): program
against the reason, show the message. The field at fault stands in `google.rpc.BadRequest`; what to do next, and the
request id to quote to an administrator, stand in the ErrorInfo's metadata as `next_step` and `request_id`. Within a
session the same is said by `Refusal`. Failed *work* is no error of a call: it is data on the task.

What to do, by code:

| code | what it means for the caller |
|---|---|
| INVALID_ARGUMENT | change the request; nothing happened |
| NOT_FOUND | it is not there, or not yours; look at the list |
| ALREADY_EXISTS | choose another name, or a new request_id |
| FAILED_PRECONDITION | bring the thing into the state that the call needs, then repeat |
| ABORTED | something newer came first; read again and repeat |
| OUT_OF_RANGE | start again from a list |
| RESOURCE_EXHAUSTED | make room, or wait; nothing happened |
| PERMISSION_DENIED | use a token that may do this |
| UNAUTHENTICATED | send a token, or get a new one |
| UNAVAILABLE | repeat in a moment, with the same request_id |
| DEADLINE_EXCEEDED | its effect is unknown: repeat with the same request_id |
| INTERNAL | a mistake of the service: quote the request_id to an administrator |

All reasons (kept in step with the code by `tests/contract/test_errors_documented.py`):

| reason | code | meaning |
|---|---|---|
"""

FAMILIES = {
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ServiceError)
}


def leaves() -> list[type[ServiceError]]:
    """Every class that names a reason, from every module of every service."""
    for module in pkgutil.walk_packages(services.__path__, "services."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: set[type[ServiceError]] = set()
    waiting: list[type[ServiceError]] = [ServiceError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("services."):
            found.add(kind)
    return sorted(found - FAMILIES, key=lambda kind: (kind.reason, kind.code))


def meaning(kind: type[ServiceError]) -> str:
    """The first paragraph of the docstring, which is the default message."""
    paragraph = (kind.__doc__ or "").strip().split("\n\n", 1)[0]
    return " ".join(paragraph.split()).replace("|", "\\|")


def table() -> str:
    rows = {f"| {kind.reason} | {kind.code} | {meaning(kind)} |" for kind in leaves()}
    return "\n".join(sorted(rows)) + "\n"


def test_errors_page_lists_every_reason_as_the_code_has_it() -> None:
    assert PAGE.read_text() == HEAD + table(), "run: python tests/contract/test_errors_documented.py"


def test_every_reason_has_one_code() -> None:
    codes: dict[str, set[str]] = {}
    for kind in leaves():
        codes.setdefault(kind.reason, set()).add(kind.code)
    assert {reason: found for reason, found in codes.items() if len(found) > 1} == {}


def test_every_reason_is_a_word_and_says_what_it_means() -> None:
    for kind in leaves():
        assert re.fullmatch(r"[A-Z][A-Z0-9_]+", kind.reason), kind
        assert meaning(kind).endswith((".", "'.", "repeat")), f"{kind}: {meaning(kind)!r}"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(HEAD + table())
