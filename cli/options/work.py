"""The words of placement, resources, environment and conduct, the same for `yard run` and `yard call`.

Owns what they are called and what the help says of them; what was typed is read in `work_values`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.completion import complete_nodes, complete_queues

# The headings of the help.
PLACEMENT = "Placement"
RESOURCES = "Resources"
ENVIRONMENT = "Environment"
DATA = "Data"
SHARING = "Sharing"
ORDER = "Order"
ARRAYS = "Arrays and gangs"
CONDUCT = "Conduct"
NOTIFICATION = "Notification"

Node = Annotated[
    str, typer.Option(help="Only this node", autocompletion=complete_nodes, rich_help_panel=PLACEMENT)
]
Pool = Annotated[
    str,
    typer.Option(help="Only nodes of this pool", show_default="nodes of no pool", rich_help_panel=PLACEMENT),
]
Label = Annotated[
    list[str],
    typer.Option(
        help="Only nodes with this label k=v; repeatable", show_default=False, rich_help_panel=PLACEMENT
    ),
]
Policy = Annotated[
    str,
    typer.Option(help="least-loaded|binpack|spread", show_default="least-loaded", rich_help_panel=PLACEMENT),
]
Quote = Annotated[
    str,
    typer.Option(
        help="Capacity that is held for it: yard nodes quote", show_default=False, rich_help_panel=PLACEMENT
    ),
]
DistinctNodes = Annotated[
    bool,
    typer.Option(
        "--distinct-nodes", help="Each element of the array on a node of its own", rich_help_panel=PLACEMENT
    ),
]
Cpu = Annotated[float, typer.Option(help="Cores", show_default="1", rich_help_panel=RESOURCES)]
Memory = Annotated[str, typer.Option(help="For example 512Mi", rich_help_panel=RESOURCES)]
Gpu = Annotated[
    float, typer.Option(help="Devices; below 1: a share of one", show_default="0", rich_help_panel=RESOURCES)
]
Resource = Annotated[
    list[str],
    typer.Option(
        help="Custom resource name=amount; repeatable", show_default=False, rich_help_panel=RESOURCES
    ),
]
Requirements = Annotated[
    str, typer.Option(help="Requirements file; installed once per machine", rich_help_panel=ENVIRONMENT)
]
Image = Annotated[
    str,
    typer.Option(
        help="Run it in a container of this image, for example python:3.11-slim",
        show_default=False,
        rich_help_panel=ENVIRONMENT,
    ),
]
Network = Annotated[
    str,
    typer.Option(help="Of the container: none|bridge", show_default="none", rich_help_panel=ENVIRONMENT),
]
Env = Annotated[
    list[str],
    typer.Option(
        help="Environment variable k=v; repeatable", show_default=False, rich_help_panel=ENVIRONMENT
    ),
]


def _directory(value: str) -> str:
    if value and not Path(value).is_dir():
        raise typer.BadParameter(f"there is no directory {value}")
    return value


Dir = Annotated[
    str,
    typer.Option(help="Directory to run in; it is shipped", callback=_directory, rich_help_panel=ENVIRONMENT),
]
Param = Annotated[
    list[str],
    typer.Option(
        "--param",
        help="k=v; v is JSON, else text; k=@FILE reads JSON",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
ParamEnv = Annotated[
    str,
    typer.Option(
        help="Further parameters, from MODELYARD_PARAM_… of the agent that runs it; --param goes over them",
        metavar="NAME",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
InputFile = Annotated[
    list[str],
    typer.Option(
        "--input", help="name=@FILE or name=sha256:DIGEST", show_default=False, rich_help_panel=DATA
    ),
]
Attach = Annotated[
    list[str],
    typer.Option(
        metavar="FILE|DIR/[:PATH]",
        help="File or directory to send along; it lies at PATH, or its own name, in the working directory; "
        "repeatable",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
Keep = Annotated[
    list[str],
    typer.Option(help="Glob of files to keep; repeatable", show_default=False, rich_help_panel=DATA),
]
Name = Annotated[str, typer.Option(help="A name for people", rich_help_panel=CONDUCT)]
Priority = Annotated[int, typer.Option(help="Higher goes first, −1000 … 1000", rich_help_panel=SHARING)]
Queue = Annotated[
    str,
    typer.Option(
        help="Queue to wait in",
        show_default="default",
        autocompletion=complete_queues,
        rich_help_panel=SHARING,
    ),
]
Cap = Annotated[
    list[str],
    typer.Option(
        metavar="KEY=N",
        help="At most N tasks of the account with this key run at a time; repeatable",
        show_default=False,
        rich_help_panel=SHARING,
    ),
]
Retries = Annotated[int, typer.Option(help="Further attempts", rich_help_panel=CONDUCT)]
Timeout = Annotated[str, typer.Option(help="Longest run, for example 10m", rich_help_panel=CONDUCT)]
QueueTimeout = Annotated[str, typer.Option(help="Longest wait for a place", rich_help_panel=CONDUCT)]
Array = Annotated[
    int, typer.Option(help="Run this many elements; each knows YARD_ARRAY_INDEX", rich_help_panel=ARRAYS)
]
Preemptible = Annotated[
    bool,
    typer.Option(
        "--preemptible",
        help="May be interrupted for what goes first, and is queued again",
        rich_help_panel=SHARING,
    ),
]
Preempts = Annotated[
    bool,
    typer.Option(
        "--preempts", help="May have preemptible tasks of lower priority interrupted", rich_help_panel=SHARING
    ),
]
PreemptionGrace = Annotated[
    str,
    typer.Option(
        help="To save its state when it is interrupted", show_default="30s", rich_help_panel=SHARING
    ),
]
CheckpointSignal = Annotated[
    str,
    typer.Option(
        help="Asks it to save its state, for example SIGUSR1", show_default="SIGTERM", rich_help_panel=SHARING
    ),
]
Gang = Annotated[
    str,
    typer.Option(
        help="Elements start together or not at all, under this name",
        show_default=False,
        rich_help_panel=ARRAYS,
    ),
]
GangMin = Annotated[
    int,
    typer.Option(
        help="So many elements must start together, the others follow",
        show_default="all",
        rich_help_panel=ARRAYS,
    ),
]
Tag = Annotated[
    list[str],
    typer.Option(
        help="Label k=v of the task itself; repeatable", show_default=False, rich_help_panel=CONDUCT
    ),
]
Hold = Annotated[bool, typer.Option("--hold", help="Submit held; release it later", rich_help_panel=ORDER)]
After = Annotated[
    list[str],
    typer.Option(
        help="Start when this task or array has succeeded; repeatable",
        show_default=False,
        rich_help_panel=ORDER,
    ),
]
AfterAny = Annotated[
    list[str],
    typer.Option(
        help="Start when it has ended, however; repeatable", show_default=False, rich_help_panel=ORDER
    ),
]
AfterFailed = Annotated[
    list[str],
    typer.Option(help="Start when it has failed; repeatable", show_default=False, rich_help_panel=ORDER),
]
AfterStart = Annotated[
    list[str],
    typer.Option(help="Start when it has started; repeatable", show_default=False, rich_help_panel=ORDER),
]
Elementwise = Annotated[
    bool,
    typer.Option(
        "--elementwise",
        help="Between arrays of one size: element i waits for element i",
        rich_help_panel=ORDER,
    ),
]
ArrayIndexes = Annotated[
    str, typer.Option(help="Only these elements, for example 0-4,7", rich_help_panel=ARRAYS)
]
MaxRunning = Annotated[
    int, typer.Option(help="Elements under way at a time", show_default="no limit", rich_help_panel=ARRAYS)
]
MaxFails = Annotated[
    int | None,
    typer.Option(
        help="Cancel the rest when more elements have failed", show_default="no limit", rich_help_panel=ARRAYS
    ),
]
AtMostOnce = Annotated[
    bool,
    typer.Option(
        "--at-most-once", help="Never started again unless it surely had not started", rich_help_panel=CONDUCT
    ),
]
OnDisconnect = Annotated[
    str,
    typer.Option(
        help="When its node is silent: replace|keep|stop", show_default="replace", rich_help_panel=CONDUCT
    ),
]
LostAfter = Annotated[
    str, typer.Option(help="How long its node may be silent", show_default="15s", rich_help_panel=CONDUCT)
]
Reconcile = Annotated[
    str,
    typer.Option(
        help="When the node is back after all: keep-replacement|keep-original|best-score|longest-running",
        show_default="keep-replacement",
        rich_help_panel=CONDUCT,
    ),
]
ModifySignal = Annotated[
    str,
    typer.Option(
        help="Sent when its parameters change (YARD_PARAMS), for example SIGUSR1", rich_help_panel=CONDUCT
    ),
]
Contact = Annotated[
    str,
    typer.Option(
        help="Who is told how it ended",
        show_default="the account's default contacts",
        rich_help_panel=NOTIFICATION,
    ),
]
Notify = Annotated[
    str,
    typer.Option(
        help="Which ends are told: success|failure|both", show_default="both", rich_help_panel=NOTIFICATION
    ),
]
NotifyRun = Annotated[
    str,
    typer.Option(
        help="What is told: success|failure|both|gates, also with commas",
        show_default="all of it to a contact that is named",
        rich_help_panel=NOTIFICATION,
    ),
]
Silent = Annotated[
    bool, typer.Option("--silent", help="Tell nobody, default contacts or not", rich_help_panel=NOTIFICATION)
]
IdempotencyKey = Annotated[
    str,
    typer.Option(
        help="Submitting twice with the same key makes one task", show_default=False, rich_help_panel=CONDUCT
    ),
]
