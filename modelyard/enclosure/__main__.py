"""``yard-frame``, or ``python -m modelyard.enclosure``: what a seat launches for a frame.

Owns the command line, of which there is none, and the exit code: the frame's own, or 70 and a line that says what
is wrong.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from modelyard.enclosure.holder import Form, Holder, trouble_of
from modelyard.enclosure.order import CONTAINER, TROUBLE_EXIT, Order, Trouble, read_order


def main() -> int:
    """Until the frame has ended."""
    try:
        order = read_order(os.environ, Path.cwd())
        return Holder(order, form_of(order)).run()
    except Trouble as error:
        return _tell(error)
    except OSError as error:
        return _tell(trouble_of(error))


def form_of(order: Order) -> Form:
    """How it is to be shut in."""
    if order.kind == CONTAINER:
        from modelyard.enclosure.container import Container

        return Container(order, os.environ)
    from modelyard.enclosure.sandbox import Sandbox

    return Sandbox(order)


def _tell(error: Trouble) -> int:
    sys.stderr.write(f"{error.line()}\n")
    sys.stderr.flush()
    return TROUBLE_EXIT


if __name__ == "__main__":
    sys.exit(main())
