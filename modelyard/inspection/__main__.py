"""`python -m modelyard.inspection --component DIR [--file PATH] [--warning TEXT] --output FILE.json`: a look's program.

What is wrong with the component stands in the file, as {"error": {"code", "message"}}; a program that ends otherwise
than with 0 was itself unable to look.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard.inspection.detection import ComponentUnknown, LibraryMissing, inspect_component
from modelyard.models.exchange import inspection_out

FOUND_BYTES_MOST = 4 << 20
"""No model has so much to be said of what it takes and gives."""
MESSAGE_LENGTH = 2_000


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m modelyard.inspection", description=__doc__)
    parser.add_argument("--component", type=Path, required=True)
    parser.add_argument("--file", default="")
    parser.add_argument("--warning", action="append", default=[], help="noted first beside what is found")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(argv)
    text = json.dumps(look(given.component, given.file, given.warning))
    if len(text) > FOUND_BYTES_MOST:
        error = f"what its files say of it is longer than {FOUND_BYTES_MOST} bytes: it has too many names"
        text = json.dumps({"error": {"code": "COMPONENT_TOO_LARGE", "message": error}})
    given.output.write_text(text)
    return 0


def look(component: Path, file: str, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """What is found, or why nothing is."""
    try:
        found = inspect_component(component, file)
        found.warnings[:0] = warnings
        return {"inspection": inspection_out(found)}
    except ComponentUnknown as error:
        return {"error": {"code": "FORMAT_UNKNOWN", "message": str(error)[:MESSAGE_LENGTH]}}
    except LibraryMissing as error:
        return {"error": {"code": "LIBRARY_MISSING", "message": str(error)}}
    except (MemoryError, RecursionError) as error:
        what = "more memory than it may have" if isinstance(error, MemoryError) else "too deep a nesting"
        return {"error": {"code": "COMPONENT_TOO_LARGE", "message": f"looking at its files needs {what}"}}
    except OSError as error:
        return {"error": {"code": "COMPONENT_UNREADABLE", "message": str(error)}}


if __name__ == "__main__":
    raise SystemExit(main())
