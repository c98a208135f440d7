"""The work of nodes as a specification of a task (S1.4): what of it is known before a run.

A body is the serialised TaskSpec of a node without parameters and inputs. Nodes of equal settings share one.
"""

import glob
from typing import Any

import msgspec

from modelyard.v1 import task_pb2
from services.graph.canvases.canvas import Node
from services.graph.convert.canvas_message import duration, fill
from services.graph.convert.settings import wrong_setting
from services.graph.runs.parameters import variable_of

_REMEMBERED_MOST = 10_000
_TIMEOUT_MOST_S = 10 * 365 * 86_400.0


class SettingInvalid(Exception):
    """A node's setting has no meaning; `field` is where."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Bodies:
    """Makes bodies; the same settings are converted once."""

    def __init__(self) -> None:
        self._made: dict[bytes, bytes] = {}

    def __call__(self, node: Node) -> bytes:
        """The body of a node that runs an operator or a command. Raises SettingInvalid."""
        key = msgspec.msgpack.encode(
            (
                node.operator, node.command, node.retry, node.placement, node.resources, node.environment,
                node.timeout_s, node.bundle_digest, variable_of(node.parameter_address),
            )
        )  # fmt: skip
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= _REMEMBERED_MOST:
                self._made.clear()
            made = self._made[key] = _specification(node).SerializeToString(deterministic=True)
        return made


def _specification(node: Node) -> task_pb2.TaskSpec:
    spec = task_pb2.TaskSpec(
        bundle_digest=node.bundle_digest, parameter_env=variable_of(node.parameter_address)
    )
    if node.command is not None:
        spec.command.argv.extend(node.command.argv)
        # Agents look for outputs by glob; these are names of files.
        spec.outputs.extend(glob.escape(path) for path in dict.fromkeys(node.command.outputs.values()))
        spec.env.update(node.command.env)
    else:
        spec.operator.operator = node.operator.partition("@")[0]
    settings: tuple[tuple[str, Any, Any], ...] = (
        ("retry", node.retry, spec.retry),
        ("placement", node.placement, spec.placement),
        ("resources", node.resources, spec.resources),
        ("environment", node.environment, spec.environment),
    )
    for name, value, message in settings:
        if value is not None and (wrong := fill(message, value)):
            raise SettingInvalid(name, wrong)
    if not 0 <= (node.timeout_s or 0) <= _TIMEOUT_MOST_S:
        raise SettingInvalid("timeout_s", "a timeout is 0 (none) to ten years of seconds")
    if node.timeout_s:
        spec.timeouts.run_timeout.CopyFrom(duration(node.timeout_s))
    found = wrong_setting(spec)
    if found is not None:
        raise SettingInvalid(*found)
    return spec
