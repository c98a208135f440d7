"""`yard demo`: from data to a served model on a yard of two nodes, in under two minutes, without a network."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cli import exit_codes
from cli.errors import CommandError
from cli.invocation import Invocation, command, new_command
from modelyard import settings as yard_settings

app = new_command()

NEEDED = {
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
    "lightgbm": "lightgbm",
    "xgboost": "xgboost-cpu",
}
"""Packages by what is imported."""


@command(app)
def demo(
    yard: Invocation,
    use: Annotated[
        bool, typer.Option("--use", help="Use the running yard instead of one of its own")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the demo's yard running")] = False,
    target: Annotated[str, typer.Option(help="Where the report and the pictures go")] = "yard-demo",
) -> None:
    """Bring up a yard of two nodes and run a canvas on it: data, two frameworks, the better model served and called."""
    if use:
        asyncio.run(_tell(yard, Path(target), stays=True))
        return
    missing = [package for name, package in NEEDED.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandError(
            f"the demo needs {', '.join(missing)}",
            code=exit_codes.USAGE,
            next_step="pip install 'modelyard[demo]'",
        )
    with _own_yard(yard, keep) as state:
        settings = yard_settings.load({"state": str(state)}, {})
        asyncio.run(_tell(Invocation(settings, yard.output, yard.debug), Path(target), stays=keep))


@contextmanager
def _own_yard(yard: Invocation, keep: bool) -> Iterator[Path]:
    """A yard in a temporary directory; stopped and removed afterwards unless it is kept."""
    from cli.demo.ports import free_port_base
    from cli.supervisor.detached import start
    from cli.supervisor.options import Options
    from cli.supervisor.stop import stop_yard

    state = Path(tempfile.mkdtemp(prefix="yard-demo-"))
    options = Options(port_base=free_port_base(), agents=2, cpu=8, trainer=True, models=True)
    yard.say(f"a yard of its own comes up on {options.endpoint}, in {state}")
    try:
        start(state, options)
        yield state
        if keep:
            yard.say(f"\nit goes on; stop it with: yard down --state {state}")
    except BaseException:  # interrupted, too: what has not come to its end is not kept
        keep = False
        raise
    finally:
        if not keep:
            stop_yard(state)
            shutil.rmtree(state, ignore_errors=True)
            yard.say("\nstopped, and removed; next: yard up --detach")


async def _tell(yard: Invocation, target: Path, *, stays: bool) -> None:
    from cli.demo.story import Story

    async with yard.client() as client:
        await Story(yard, client, target, stays=stays).tell()
