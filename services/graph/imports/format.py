"""What a format is: one value of this type in each of the modules. Pure."""

from collections.abc import Callable
from typing import Any

import msgspec

from services.graph.canvases.canvas import Canvas
from services.graph.canvases.operators import Catalogue
from services.graph.imports.report import Report


class Format(msgspec.Struct, frozen=True):
    """How documents of one tool are read and written."""

    name: str
    recognises: Callable[[Any], bool]
    """Whether a JSON value looks like one."""
    read: Callable[[Any, Report, Catalogue], Canvas]
    """What the form itself says. Never fails for a document that is recognised: tells what it could not take."""
    write: Callable[[Canvas], Any]
    """What the form itself can say of a canvas, valid or not."""
    extension: tuple[str, ...] = ()
    """Keys to the object in which other programs leave "modelyard" alone."""
    family: str = ""
    """Formats of one family are two forms of the same thing."""
    envelope: Callable[[Any], Any] = lambda value: value
    """Gives a document the room that `extension` is in, where it may come without."""
