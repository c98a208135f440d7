"""``yard-probe``: what a component takes and gives, found out by a program that is shut in.

Either `modelyard.serving.probe`, which runs it as a frame of the same component will be run; or, with ``--look``,
`modelyard.inspection`, which reads its files and runs nothing of it. Owns the command line, which is that program's own
and some words more, and that whatever goes wrong stands in the file that is to say what was found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelyard.enclosure import calls
from modelyard.enclosure.__main__ import form_of
from modelyard.enclosure.confinement import FOUND
from modelyard.enclosure.holder import Holder, trouble_of
from modelyard.enclosure.order import ENVIRONMENT, Order, Trouble, order_of
from modelyard.enclosure.sandbox import LIMITS, grade

FOUND_BYTES = 64 * 1024**2
COMPONENT, CONFIG = "/component", "/room/config.json"
_PROBE, _LOOK = ("-m", "modelyard.serving.probe"), ("-m", "modelyard.inspection")
WEAKLY = (
    "its files were looked at within limits{}, but not in a file system of their own: the kernel of that node gives"
    " ordinary users no namespaces (yard doctor)"
)
"""What is noted beside the findings where a look could not be shut in further."""


def main(arguments: list[str] | None = None) -> int:
    """0: the file says what was found, or what is wrong."""
    parser = argparse.ArgumentParser(
        prog="yard-probe",
        description="Runs a component on an example, or looks at its files, shut in.",
        allow_abbrev=False,
    )
    parser.add_argument("--look", action="store_true", help="read its files only; nothing of it runs")
    parser.add_argument("--component", type=Path, required=True, help="its directory")
    parser.add_argument("--config", type=Path, help="model.yaml as JSON; a look needs none")
    parser.add_argument("--output", type=Path, required=True, help="what was found, as JSON")
    parser.add_argument("--enclosure", default="{}", help="as in a frame's launch")
    options, passed_on = parser.parse_known_args(arguments)
    if options.config is None and not options.look:
        parser.error("--config is missing")
    output: Path = options.output
    what = "looking at it" if options.look else "loading or calling it"
    try:
        order = _order(options, tuple(passed_on))
        form = form_of(order)
        code = Holder(order, form).run()
        if code or not output.stat().st_size:
            raise Trouble("INTERNAL", "", f"{what} has ended the process, exit code {code}")
        if not options.look:
            _add_image(output, {**form.image.plain(), "asked": order.image})
    except Trouble as error:
        return _tell(output, Trouble(error.code, "", error.message) if options.look else error)
    except OSError as error:
        return _tell(output, trouble_of(error))
    output.chmod(0o600)
    return 0


def _order(options: argparse.Namespace, passed_on: tuple[str, ...]) -> Order:
    """Raises Trouble, OSError."""
    launch = {"component": str(options.component), "listen": ""}
    try:
        order = order_of(launch, json.loads(options.enclosure), os.environ, Path.cwd())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Trouble("INVALID_ARGUMENT", "", f"this is no enclosure: {error}") from error
    order.room.mkdir(exist_ok=True)
    options.output.write_bytes(b"")
    options.output.chmod(0o666)
    program = (*(_LOOK if options.look else _PROBE), "--component", COMPONENT, "--output", FOUND, *passed_on)
    if options.look:
        if order.kind == ENVIRONMENT and grade() == LIMITS:
            program += ("--warning", WEAKLY.format("" if calls.missing() else " and without any socket"))
    else:
        config = order.room / "config.json"
        config.write_bytes(options.config.read_bytes())
        config.chmod(0o644)
        program += ("--config", CONFIG)
    found = options.output.absolute()
    return replace(order, program=program, found=found, file_bytes=FOUND_BYTES, runs_code=not options.look)


def _add_image(output: Path, image: dict[str, Any]) -> None:
    """What it ran in, in this process' own words: whatever stands there was written by who was tried."""
    try:
        found = json.loads(output.read_bytes())
    except (ValueError, RecursionError):
        return
    if isinstance(found, dict):
        output.write_text(json.dumps({**found, "image": image}), encoding="utf-8")


def _tell(output: Path, error: Trouble) -> int:
    sys.stderr.write(f"{error.line()}\n")
    said = {"code": error.code, "field": error.field, "message": error.message}
    output.write_text(json.dumps({"error": said}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
