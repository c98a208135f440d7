"""Regular expressions of definitions and job files: RE2's, so that matching takes linear time whatever is asked.

A pattern is data from outside. What `check` lets pass is understood by Python's `re` as well, for those who may load
the standard library only; they bound their own time.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

PATTERN_MOST = 300
"""Characters."""
LINE_MOST = 4_096
"""Characters of a line that are looked at."""
_MEMORY_MOST = 1 << 20


@lru_cache(maxsize=1_024)
def _compiled(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.max_mem = _MEMORY_MOST
    options.log_errors = False
    return re2.compile(pattern, options)


def check(pattern: str) -> str:
    """What is wrong with it; empty: nothing."""
    import re2

    if len(pattern) > PATTERN_MOST:
        return f"a pattern has at most {PATTERN_MOST} characters"
    try:
        _compiled(pattern)
        re.compile(pattern)
    except re2.error as error:
        detail = error.args[0] if error.args else "it is too large"
        return detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
    except re.error as error:
        return str(error)
    return ""


def groups(pattern: str, line: str) -> dict[str, str | None] | None:
    """Named groups of the first match in a line; None: it does not match."""
    found = _compiled(pattern).search(line[:LINE_MOST])
    return None if found is None else dict(found.groupdict())


def matches(pattern: str, line: str) -> bool:
    """Whether a line has it somewhere."""
    return _compiled(pattern).search(line[:LINE_MOST]) is not None
