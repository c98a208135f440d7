"""`yard model`: its commands, in the order in which help tells them."""

from __future__ import annotations

from cli.commands.model import aliases, call, components, config, serving, versions
from cli.invocation import new_group, take_in

app = new_group("Models: from a trained file to one that is called; versions, configurations, aliases.")
take_in(app, components.part, versions.part, aliases.part, call.part, config.part, serving.part)
