"""``python -m modelyard.serving.probe``: what a component takes and gives, found out by running it on an example.

It is loaded as a frame loads it, and computes with one row and with two: types, shapes, which axes vary, whether rows
are independent of each other, whether the same question gets the same answer. The findings are a JSON file:

    {facts: {path: [value, why]}, golden: {example, digest} or null, load_s, memory_bytes, warnings}
    {error: {code, field, message}}

A configuration that is known in part is enough: what it lacks is taken from the loaded thing, or tried.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import modelyard.serving.launch as launching
from modelyard.serving.launch import BadLaunch, Launch, Settings


def main(arguments: list[str] | None = None) -> int:
    """0: the file says what was found, or why it cannot be served; 2: not even that."""
    parser = argparse.ArgumentParser(
        prog="modelyard.serving.probe", description="Runs a component on an example."
    )
    parser.add_argument("--component", type=Path, required=True, help="its directory")
    parser.add_argument(
        "--config", type=Path, required=True, help="model.yaml as JSON, as far as it is known"
    )
    parser.add_argument("--output", type=Path, required=True, help="what was found, as JSON")
    parser.add_argument("--may-unpickle", action="store_true", help="the server trusts it")
    parser.add_argument("--trusted-type", action="append", default=[], help="of skops; the server trusts it")
    options = parser.parse_args(arguments)
    try:
        found = _found(options)
    except BadLaunch as error:
        found = {"error": {"code": "INVALID_ARGUMENT", "field": "config", "message": str(error)}}
    options.output.write_text(json.dumps(found))
    return 0


def _found(options: argparse.Namespace) -> dict[str, Any]:
    """Raises BadLaunch."""
    try:
        plain = json.loads(options.config.read_bytes())
    except (OSError, ValueError) as error:
        raise BadLaunch(f"{options.config.name}: {error}") from None
    settings = Settings.of(plain)
    launching.prepare_libraries(settings)
    sys.dont_write_bytecode = True
    launch = Launch(
        component=options.component,
        settings=settings,
        may_unpickle=options.may_unpickle,
        trusted_types=tuple(options.trusted_type),
    )
    from modelyard.serving.family import adopt, end_children
    from modelyard.serving.proving import unloadable_header

    adopt()
    try:
        return probed(launch)
    except (Exception, SystemExit) as error:
        # Whatever a component raises is what was found.
        header = unloadable_header(error)
        return {"error": {name: header[name] for name in ("code", "field", "message", "reason")}}
    finally:
        end_children()


def probed(launch: Launch) -> dict[str, Any]:
    """What is found; raises what loading and computing raise."""
    # numpy, only after libraries know how many threads they have.
    from modelyard.serving import golden, trying
    from modelyard.serving.proving import prove

    proved = prove(replace(launch, golden=None, example=None))
    known = proved.model.findings()
    settings = trying.completed(launch.settings, known)
    if settings is not launch.settings:
        launch = replace(launch, settings=settings)
        fits = trying.fits_of(proved.model)
        # With its libraries, as a frame will load it.
        load_s = proved.load_s
        del proved
        gc.collect()
        proved = prove(launch)
        proved.load_s = load_s
    else:
        fits = trying.fits_of(proved.model)
    tried = trying.run(launch, proved, known, fits)
    facts = {path: [value, why] for path, (value, why) in {**known, **tried.facts}.items()}
    kept = None
    if tried.call is not None and tried.answer is not None and tried.is_repeatable:
        example = golden.example_of(tried.call, tried.answer)
        if len(json.dumps(example)) <= golden.EXAMPLE_BYTES_MOST:
            kept = {"example": example, "digest": golden.digest_of(tried.answer)}
    from modelyard.serving.memory import resident_bytes

    return {
        "facts": facts,
        "golden": kept,
        "load_s": round(proved.load_s, 4),
        "memory_bytes": resident_bytes(),
        "warnings": [*proved.warnings, *tried.warnings],
    }


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that a component has left behind must not keep the process.
    os._exit(code)
