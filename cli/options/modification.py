"""The options of `yard tasks modify`: which tasks, and what is changed about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.completion import complete_nodes
from cli.errors import UsageError
from cli.options import work as work_options
from cli.options import work_values
from modelyard.quantities import parse_size

if TYPE_CHECKING:
    from modelyard.v1 import task_pb2


@dataclass
class ChangeForm:
    """What is to be otherwise; what was not typed stays."""

    param: work_options.Param = field(default_factory=list)
    priority: Annotated[int | None, typer.Option(help="Higher goes first; while it waits")] = None
    timeout: Annotated[str, typer.Option(help="Longest run from its start, for example 10m; 0: no limit")] = (
        ""
    )
    queue_timeout: Annotated[str, typer.Option(help="Longest wait for a place; 0: no limit")] = ""
    tag: Annotated[
        list[str], typer.Option(help="Label k=v of the task itself; k= takes it away; repeatable")
    ] = field(default_factory=list)
    attach: Annotated[
        list[str],
        typer.Option(
            metavar="FILE|DIR/[:PATH]",
            help="Lies at PATH, or its own name, in the working directory; =PATH takes one away; repeatable",
        ),
    ] = field(default_factory=list)
    cpu: Annotated[float, typer.Option(help="Cores", show_default="as they are")] = 0.0
    memory: Annotated[str, typer.Option(help="For example 512Mi", show_default="as it is")] = ""

    def values(self) -> dict[str, Any]:
        """By the names of `Tasks.modify`, but for attachments; None: stays. Raises UsageError."""
        return {
            "params": work_values.params_of(self.param) if self.param else None,
            "priority": self.priority,
            "run_timeout": work_values.seconds_of(self.timeout) if self.timeout else None,
            "queue_timeout": work_values.seconds_of(self.queue_timeout) if self.queue_timeout else None,
            "labels": work_values.pairs(self.tag, "--tag") if self.tag else None,
            "resources": _resources(self.cpu, self.memory),
        }

    def attachments(self) -> tuple[dict[str, Path | str], list[str]]:
        """Those that are put, by their paths, and the paths of those that are taken away. Raises UsageError."""
        gone = [word[1:] for word in self.attach if word.startswith("=")]
        return work_values.attachments_of([word for word in self.attach if not word.startswith("=")]), gone


@dataclass
class FilterForm:
    """Which tasks, where it is not one that is named."""

    filter_state: Annotated[
        list[str], typer.Option(help="All in this state: queued|assigned|running|held; repeatable")
    ] = field(default_factory=list)
    filter_name: Annotated[str, typer.Option(help="All of this name")] = ""
    filter_node: Annotated[str, typer.Option(help="All on this node", autocompletion=complete_nodes)] = ""
    filter_label: Annotated[list[str], typer.Option(help="All with the label k=v; repeatable")] = field(
        default_factory=list
    )
    filter_array: Annotated[str, typer.Option(help="All elements of this array")] = ""
    all_accounts: Annotated[bool, typer.Option("--all-accounts", help="Every account's; for admins")] = False
    all_tasks: Annotated[bool, typer.Option("--all", help="All unfinished tasks")] = False

    def filter(self) -> task_pb2.TaskFilter:
        """Raises UsageError."""
        from modelyard.v1 import task_pb2

        return task_pb2.TaskFilter(
            states=[work_values.state_of(word) for word in self.filter_state],
            name=self.filter_name,
            node=self.filter_node,
            labels=work_values.pairs(self.filter_label, "--filter-label"),
            array_task_id=self.filter_array,
            all_accounts=self.all_accounts,
        )


def _resources(cpu: float, memory: str) -> task_pb2.Resources | None:
    from modelyard.v1 import task_pb2

    if not cpu and not memory:
        return None
    try:
        memory_bytes = parse_size(memory) if memory else 0
    except ValueError as error:
        raise UsageError(f"--memory: {error}") from error
    return task_pb2.Resources(cpu=cpu or None, memory_bytes=memory_bytes)
