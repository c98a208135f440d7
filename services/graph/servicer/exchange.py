"""Documents of other tools, and pictures, beside the event loop where they are large.

Owns when another thread does the work. What it is, is in `imports` and `picture`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from services.graph.canvases.canvas import Canvas
from services.graph.canvases.operators import Catalogue
from services.graph.canvases.picture import PictureNode, draw
from services.graph.imports.report import Finding

if TYPE_CHECKING:
    from services.graph.imports.formats import Imported

SMALL_BYTES = 16 << 10
SMALL_NODES = 100

T = TypeVar("T")


async def read(text: bytes, name: str, operators: Catalogue, bundle_digest: str = "") -> Imported:
    """The canvas of a document. Raises ImportRefused, FormatUnknown."""
    from services.graph.imports import formats

    return await _beside(len(text) > SMALL_BYTES, lambda: formats.read(text, name, operators, bundle_digest))


async def write(canvas: Canvas, name: str, operators: Catalogue) -> tuple[bytes, tuple[Finding, ...]]:
    """The canvas as a document of a format. Raises FormatUnknown."""
    from services.graph.imports import formats

    return await _beside(len(canvas.nodes) > SMALL_NODES, lambda: formats.write(canvas, name, operators))


async def picture(title: str, nodes: Sequence[PictureNode], note: str = "") -> bytes:
    """A graph or a run as SVG."""
    return await _beside(len(nodes) > SMALL_NODES, lambda: draw(title, nodes, note).encode())


async def _beside(is_large: bool, work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work) if is_large else work()
