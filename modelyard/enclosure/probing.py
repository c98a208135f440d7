"""``yard-probe``: `modelyard.serving.probe`, shut in as a frame of the same component will be.

Owns the command line, which is the probe's own and one word more, and that whatever goes wrong stands in the file that
is to say what was found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from modelyard.enclosure.__main__ import form_of
from modelyard.enclosure.confinement import FOUND
from modelyard.enclosure.holder import Holder, trouble_of
from modelyard.enclosure.order import Order, Trouble, order_of

FOUND_BYTES = 64 * 1024**2
COMPONENT, CONFIG = "/component", "/room/config.json"
_PROBE = ("-m", "modelyard.serving.probe")


def main(arguments: list[str] | None = None) -> int:
    """0: the file says what was found, or what is wrong."""
    parser = argparse.ArgumentParser(
        prog="yard-probe", description="Runs a component on an example, shut in."
    )
    parser.add_argument("--component", type=Path, required=True, help="its directory")
    parser.add_argument("--config", type=Path, required=True, help="model.yaml as JSON")
    parser.add_argument("--output", type=Path, required=True, help="what was found, as JSON")
    parser.add_argument("--enclosure", default="{}", help="as in a frame's launch")
    options, passed_on = parser.parse_known_args(arguments)
    output: Path = options.output
    try:
        order = _order(options, tuple(passed_on))
        code = Holder(order, form_of(order)).run()
        if code or not output.stat().st_size:
            raise Trouble("INTERNAL", "", f"loading or calling it has ended the process, exit code {code}")
    except Trouble as error:
        return _tell(output, error)
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
    config = order.room / "config.json"
    config.write_bytes(options.config.read_bytes())
    config.chmod(0o644)
    options.output.write_bytes(b"")
    options.output.chmod(0o666)
    program = (*_PROBE, "--component", COMPONENT, "--config", CONFIG, "--output", FOUND, *passed_on)
    found = options.output.absolute()
    return replace(order, program=program, found=found, file_bytes=FOUND_BYTES)


def _tell(output: Path, error: Trouble) -> int:
    sys.stderr.write(f"{error.line()}\n")
    said = {"code": error.code, "field": error.field, "message": error.message}
    output.write_text(json.dumps({"error": said}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
