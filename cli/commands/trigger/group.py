"""`yard trigger`: its commands, in the order in which help tells them."""

from __future__ import annotations

from cli.commands.trigger import backfills, triggers
from cli.invocation import new_group, take_in

app = new_group("Runs that start by themselves: schedules, webhooks, new artefacts, new models; back-fills.")
take_in(app, triggers.part, backfills.part)
