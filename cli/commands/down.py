"""`yard down`: stops what `yard up` started."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.invocation import Invocation, command, new_command
from cli.supervisor.stop import stop_yard
from modelyard.quantities import parse_duration

app = new_command()


@command(app)
def down(
    yard: Invocation,
    state: Annotated[str, typer.Option(help="State directory; default $YARD_STATE", show_default=False)] = "",
    timeout: Annotated[str, typer.Option(help="Then what still runs is killed")] = "30s",
) -> None:
    """Stop the yard of this state directory. Stopping what does not run is no error."""
    directory = yard.settings.state
    stopped = stop_yard(directory, parse_duration(timeout))
    if not stopped.names and not stopped.killed:
        yard.say(f"nothing runs in {directory}")
        return
    yard.say("stopped " + ", ".join(stopped.names))
    for name in stopped.killed:
        yard.say(f"{name} did not end in time and was killed")
