"""`yard contacts`: where people are told how their work ended."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.completion import complete_contacts
from cli.invocation import Invocation, command, new_group
from cli.options.lists import PageSize, PageToken
from cli.output.render import show_list, show_one
from cli.prompts import confirm

if TYPE_CHECKING:
    from cli.output.render import Columns
    from modelyard.v1 import contact_pb2

app = new_group("Contacts: where people are told how their work ended.")

NONE = "no contacts; next: yard contacts add NAME URL"
Name = Annotated[str, typer.Argument(help="Name of the contact", autocompletion=complete_contacts)]
Account = Annotated[str, typer.Option(help="Of this account", show_default="your own account")]


def _events(contact: contact_pb2.Contact) -> str:
    words = {1: "success", 2: "failure", 3: "gates"}
    return ",".join(words[event] for event in contact.default_for).replace("success,failure", "both")


def _columns() -> Columns:
    from cli.output.nouns import clock

    return (
        ("CONTACT", lambda item: item.name),
        ("SCHEME", lambda item: item.scheme),
        ("ADDRESS", lambda item: item.address),
        ("DEFAULT", _events),
        ("VERIFIED", lambda item: clock(item.verify_time) or "no"),
    )


def _show(yard: Invocation, contact: contact_pb2.Contact) -> None:
    fields = tuple((name.lower(), value) for name, value in _columns())
    show_one(yard.output, contact, fields, lambda item: item.name)


@command(app)
async def add(
    yard: Invocation,
    name: Name,
    url: Annotated[str, typer.Argument(help="For example mailto://… or jsons://…; - reads it from stdin")],
    default: Annotated[
        str, typer.Option(help="Told where work names none: success|failure|both|gates, also with commas")
    ] = "",
    account: Account = "",
) -> None:
    """Add a contact. Its URL holds credentials: it is kept encrypted and never shown again.

    yard contacts add team 'jsons://example.org/hook' --default failure

    Then send it a test message: yard contacts test team
    """
    if url == "-":
        url = sys.stdin.readline().strip()
    async with yard.client() as client:
        answer = await client.contacts.add(name, url, default=default, account=account)
    if yard.output in ("table", "name"):
        _show(yard, answer.contact)
        if answer.secret:
            yard.say(f"its messages are signed with {answer.secret}; this is shown now and never again")
        yard.say(f"next: yard contacts test {name}")
    else:
        show_one(yard.output, answer, (), lambda item: item.contact.name)


@command(app, "ls")
async def list_contacts(
    yard: Invocation, account: Account = "", page_size: PageSize = 50, page_token: PageToken = ""
) -> None:
    """List contacts, without their credentials."""
    async with yard.client() as client:
        response = await client.contacts.list(account=account, page_size=page_size, page_token=page_token)
    show_list(yard.output, response, response.contacts, _columns(), lambda item: item.name, empty=NONE)


@command(app)
async def get(yard: Invocation, name: Name, account: Account = "") -> None:
    """Show a contact."""
    async with yard.client() as client:
        _show(yard, await client.contacts.get(name, account=account))


@command(app)
async def test(yard: Invocation, name: Name, account: Account = "") -> int:
    """Send a test message. Only a contact that took one is told anything else."""
    from modelyard.v1 import contact_pb2

    async with yard.client() as client:
        answer = await client.contacts.test(name, account=account)
    delivery = answer.delivery
    if yard.output not in ("table", "name"):
        show_one(yard.output, answer, (), lambda item: item.contact.name)
    if delivery.state == contact_pb2.CONTACT_DELIVERY_STATE_DELIVERED:
        yard.say(f"{name} took it and is verified")
        return exit_codes.DONE
    if delivery.state == contact_pb2.CONTACT_DELIVERY_STATE_PENDING:
        yard.say(f"still being sent\n  next: yard contacts deliveries --contact {name}")
        return exit_codes.WAIT_TIMED_OUT
    yard.say(f"error: {name} did not take it: {delivery.error}")
    yard.say(f"  next: correct what is wrong there and repeat: yard contacts test {name}")
    return exit_codes.WORK_FAILED


@command(app)
async def default(
    yard: Invocation,
    name: Name,
    events: Annotated[str, typer.Argument(help="success|failure|both|gates, also with commas; none")],
    account: Account = "",
) -> None:
    """Choose of what a contact is told where work names none."""
    async with yard.client() as client:
        _show(
            yard, await client.contacts.set_default(name, "" if events == "none" else events, account=account)
        )


@command(app, "rm")
async def remove(
    yard: Invocation,
    name: Name,
    account: Account = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
) -> None:
    """Delete a contact; what was still to be sent to it never is."""
    confirm(f"Delete the contact {name} and what is still to be sent to it?", yes=yes)
    async with yard.client() as client:
        cancelled = await client.contacts.remove(name, account=account)
    yard.say(f"deleted {name}" + (f"; {cancelled} messages are no longer sent" if cancelled else ""))


@command(app)
async def deliveries(
    yard: Invocation,
    contact: Annotated[str, typer.Option(help="Only to this contact")] = "",
    task: Annotated[str, typer.Option(help="Only about this task")] = "",
    run: Annotated[str, typer.Option(help="Only about this run of a project")] = "",
    subject: Annotated[str, typer.Option(help="Only about this: j-7, or what a call said that it sent")] = "",
    state: Annotated[
        list[str], typer.Option(help="pending|delivered|dead; repeatable", show_default=False)
    ] = [],  # noqa: B006
    account: Account = "",
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> None:
    """List what was sent, is to be sent, or could not be sent."""
    from cli.output.nouns import age

    async with yard.client() as client:
        response = await client.contacts.deliveries(
            contact=contact,
            task_id=task,
            subject=run or subject,
            states=state,
            account=account,
            page_size=page_size,
            page_token=page_token,
        )
    columns = (
        ("EVENT", lambda item: item.event_id),
        ("CONTACT", lambda item: item.contact),
        ("ABOUT", lambda item: item.subject),
        ("STATE", lambda item: _state(item.state)),
        ("ATTEMPTS", lambda item: str(item.attempt_count)),
        ("AGE", lambda item: age(item.create_time)),
        ("TITLE", lambda item: item.title),
        ("ERROR", lambda item: item.error),
    )
    show_list(
        yard.output,
        response,
        response.deliveries,
        columns,
        lambda item: item.event_id,
        empty="nothing was sent",
    )


def _state(value: contact_pb2.ContactDeliveryState.ValueType) -> str:
    from modelyard.v1 import contact_pb2

    return contact_pb2.ContactDeliveryState.Name(value).removeprefix("CONTACT_DELIVERY_STATE_").lower()


@command(app)
async def replay(
    yard: Invocation, event: Annotated[str, typer.Argument(help="Event id: yard contacts deliveries")]
) -> None:
    """Send a message again under its event id; also one that was given up."""
    async with yard.client() as client:
        delivery = await client.contacts.replay(event)
    fields = (("event", lambda item: item.event_id), ("state", lambda item: _state(item.state)))
    show_one(yard.output, delivery, fields, lambda item: item.event_id)
    yard.say(f"next: yard contacts deliveries --contact {delivery.contact}")
