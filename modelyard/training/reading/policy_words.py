"""The second status policy in words: which roles decide. Pure."""

from __future__ import annotations

from modelyard.documents.problems import Reason, shown, suggestion
from modelyard.documents.section import Section
from modelyard.training.policies.status import Condition, condition


def policy_words(section: Section, name: str, roles: tuple[str, ...], default: Condition) -> Condition:
    """A condition over roles."""
    text = section.text(name)
    if not text:
        return default
    try:
        return condition(text, roles)
    except LookupError as error:
        word = str(error.args[0])
        section.wrong(name, Reason.UNKNOWN_ROLE, f"there is no role {shown(word)!r}", suggestion(word, roles))
    except ValueError as error:
        section.wrong(name, Reason.BAD_VALUE, str(error))
    return default
