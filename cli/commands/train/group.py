"""`yard train`: its commands, in the order in which help tells them."""

from __future__ import annotations

from cli.commands.train import addresses, frameworks, imports, jobs, kept, seeing, submit, sweeps
from cli.invocation import new_group, take_in

app = new_group("Training with any framework: what there is, what a job comes to.")
take_in(
    app,
    frameworks.part,
    jobs.part,
    submit.part,
    addresses.part,
    imports.part,
    kept.part,
    seeing.part,
    sweeps.part,
)
