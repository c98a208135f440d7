"""`yard config`: which yard, as whom, and why."""

from __future__ import annotations

from cli.invocation import Invocation, command, new_group
from cli.output.render import show_document
from cli.output.table import write_table
from modelyard.settings import VARIABLES, contexts_file

app = new_group("Settings: which yard, as whom.")


@command(app)
def view(yard: Invocation) -> None:
    """Show every setting and where its value is from. Secrets print as stars."""
    shown = {
        name: ("***" if name == "token" and value.text else value.text, value.origin)
        for name, value in ((name, yard.settings.values[name]) for name in VARIABLES)
    }
    if yard.output in ("table", "name"):
        rows = [[name, text, origin, VARIABLES[name]] for name, (text, origin) in shown.items()]
        write_table(["SETTING", "VALUE", "FROM", "VARIABLE"], rows)
        yard.say(f"contexts are tables [contexts.NAME] in {contexts_file()}")
        return
    document = {name: {"value": text, "origin": origin} for name, (text, origin) in shown.items()}
    show_document(yard.output, document)
