"""`yard graph`: its commands, in the order in which help tells them."""

from __future__ import annotations

from cli.commands.graph import canvases, exchange, gates, logs, runs
from cli.invocation import new_group, take_in

app = new_group("Canvases and their versions: what is drawn, what is wrong with it, what it comes to.")
take_in(app, canvases.part, exchange.part, gates.part, logs.part, runs.part)
