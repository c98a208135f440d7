"""What a job asks for besides exit codes, which lie: files, lines, metrics; who could bring it, what lacks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from modelyard.training.jobs.job import Evidence
from modelyard.training.policies.readiness import Facts, Readiness, ReadinessKind, shows


class Item(msgspec.Struct, frozen=True):
    """One thing that is asked for. `role` empty: any instance may bring it."""

    sign: Readiness
    role: str = ""

    @property
    def lack(self) -> str:
        """That it is not there: what was looked for, where, and what to do."""
        kind, what = self.sign.kind, self.sign.detail
        who = f"instance of {self.role}" if self.role else "instance"
        if kind is ReadinessKind.FILE:
            return (
                f"no file {what!r} that is not empty lies below the directory of any {who}: "
                "have the program write it there, or change success.artifacts"
            )
        if kind is ReadinessKind.LOG:
            return (
                f"no line that any {who} wrote in its last launch matches {what!r}: "
                "see its log, or change success.log"
            )
        return f"nobody has reported {what}: see what is reported, or change success.metrics"


def items(evidence: Evidence) -> Iterator[Item]:
    """Everything that is asked for, in the order of the file."""
    for glob in evidence.artifacts:
        yield Item(Readiness(kind=ReadinessKind.FILE, path=glob, is_filled=True))
    for line in evidence.log:
        yield Item(Readiness(kind=ReadinessKind.LOG, pattern=line.pattern), line.role)
    for metric in evidence.metrics:
        yield Item(metric)


def signs_of(evidence: Evidence, role: str) -> tuple[Readiness, ...]:
    """What the agents of a role's instances watch for."""
    return tuple(
        item.sign
        for item in items(evidence)
        if item.sign.kind is not ReadinessKind.METRIC and item.role in ("", role)
    )


def lacking(evidence: Evidence, facts: Mapping[str, Sequence[Facts]]) -> list[Item]:
    """What none of those shows who could. `facts`: by role, of each instance's present epoch."""
    return [
        item
        for item in items(evidence)
        if not any(
            shows(one, item.sign) for role, each in facts.items() if item.role in ("", role) for one in each
        )
    ]
