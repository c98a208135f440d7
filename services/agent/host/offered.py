"""Parameters that the environment of this agent offers to tasks (S1.4, S1.5).

Owns which variables a task may name: those with one prefix and no others, so that nothing secret in the environment of
an agent can be asked for by a canvas. Reads `os.environ` at the moment of asking.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

import msgspec

from services.agent.tasks.model import Given

PREFIX = "MODELYARD_PARAM_"
BYTES_MOST = 64 << 10
SHOWN_BYTES_MOST = 4 << 10
"""A larger text is told by its digest alone."""


class ParametersMissing(Exception):
    """The environment does not give what a task names; what to do about it stands in next_step."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


class OfferedParameters:
    """Those of one node."""

    def __init__(self, node: str, environ: Mapping[str, str] = os.environ) -> None:
        self._node = node
        self._environ = environ

    def read(self, name: str) -> Given:
        """What the variable gives now: a JSON object. Raises ParametersMissing."""
        variable = PREFIX + name
        text = self._environ.get(variable)
        if text is None:
            raise self._missing(
                variable, "is not set", "set it there to a JSON object and start the agent again"
            )
        data = text.encode(errors="surrogateescape")
        if len(data) > BYTES_MOST:
            raise self._missing(
                variable,
                f"has {len(data)} bytes, more than {BYTES_MOST}",
                "put them into the store: artifact:DIGEST",
            )
        if (wrong := _problem_of(data)) is not None:
            raise self._missing(variable, wrong, 'give it a JSON object, for example {"size": 3}')
        return Given(variable, text, hashlib.sha256(data).hexdigest())

    def _missing(self, variable: str, wrong: str, next_step: str) -> ParametersMissing:
        return ParametersMissing(
            f"the variable {variable} of the agent on node {self._node} {wrong}",
            f"on {self._node}: {next_step}",
        )


def _problem_of(data: bytes) -> str | None:
    """Why this is no JSON object; says nothing of its content."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        where = str(error).rpartition("(")[2].rstrip(")") if "(byte" in str(error) else ""
        return f"is not JSON{where and f' ({where})'}"
    except RecursionError:
        return "is nested too deeply"
    return None if isinstance(value, dict) else "is not a JSON object"
