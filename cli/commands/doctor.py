"""`yard doctor`: looks at this machine and the yard, and says what to do."""

from __future__ import annotations

import dataclasses
import sys
import time

from cli import exit_codes
from cli.checks import FAILURE, NOTE, OK, WARNING, Finding, check_machine
from cli.errors import colour_wanted, report_of
from cli.invocation import Invocation, command, new_command
from cli.output.render import show_document

app = new_command()

_MARKS = {OK: ("✓", "32"), NOTE: ("·", "2"), WARNING: ("!", "33"), FAILURE: ("✗", "31")}


@command(app)
async def doctor(yard: Invocation) -> int:
    """Check this machine and the yard. Exit code 1 if something is broken."""
    findings = list(check_machine(yard.settings))
    findings.extend(await _check_yard(yard))
    if yard.output in ("table", "name"):
        for finding in findings:
            sys.stdout.write(_line(finding))
    else:
        show_document(yard.output, [dataclasses.asdict(finding) for finding in findings])
    return exit_codes.WORK_FAILED if any(f.status == FAILURE for f in findings) else exit_codes.DONE


async def _check_yard(yard: Invocation) -> list[Finding]:
    """Reachable, token good, versions, nodes."""
    from modelyard.errors import YardError
    from modelyard.settings import SettingsError
    from modelyard.version import VERSION

    try:
        async with yard.client(patience_s=0.0) as client:
            identity = await client.accounts.identity()
            began = time.perf_counter()
            await client.accounts.identity()
            round_trip_ms = (time.perf_counter() - began) * 1000
            listed = await client.nodes.list(page_size=1000)
    except (YardError, SettingsError) as error:
        report = report_of(error)
        message = report.message if report else str(error)
        unreachable = report is not None and report.exit_code == exit_codes.UNREACHABLE
        status = NOTE if unreachable else FAILURE
        return [Finding("yard", status, message, report.next_step if report else "")]
    findings = [
        Finding(
            "yard", OK, f"{yard.settings.endpoint} answers in {round_trip_ms:.1f} ms as {identity.account}"
        )
    ]
    other = sorted({node.agent_version for node in listed.nodes if node.agent_version != VERSION})
    if not listed.nodes:
        findings.append(Finding("nodes", WARNING, "no node is connected", "yard nodes token"))
    elif any(other):
        versions = ", ".join(filter(None, other))
        findings.append(Finding("versions", WARNING, f"agents run {versions}, this is {VERSION}"))
    else:
        findings.append(Finding("nodes", OK, f"{len(listed.nodes)} known"))
    return findings


def _line(finding: Finding) -> str:
    mark, colour = _MARKS[finding.status]
    if colour_wanted(sys.stdout):
        mark = f"\x1b[{colour}m{mark}\x1b[0m"
    text = f"{mark} {finding.check:<13}{finding.message}\n"
    if finding.next_step and finding.status != OK:
        text += f"  {'':<13}next: {finding.next_step}\n"
    return text
