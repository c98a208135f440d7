"""The known word that somebody perhaps meant: for refusals that say what to write instead."""

from collections.abc import Iterable
from itertools import islice

WORD_CHARACTERS_MOST = 200
KNOWN_MOST = 2_000
"""What is compared grows with both; a stranger's word is no reason for more."""


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """The known word that is most like this one; empty: none is as near as `likeness`, of 1."""
    if len(word) > WORD_CHARACTERS_MOST:
        return ""
    # Only a refusal needs it: an idle service does without.
    from difflib import get_close_matches

    close = get_close_matches(word, list(islice(known, KNOWN_MOST)), 1, likeness)
    return close[0] if close else ""
