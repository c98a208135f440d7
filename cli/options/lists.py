"""Options of commands that list page by page."""

from __future__ import annotations

from typing import Annotated

import typer

PageSize = Annotated[int, typer.Option(help="Most rows")]
PageToken = Annotated[str, typer.Option(help="Where the last page ended")]
