"""Everything that a task needs before it can start: bundle, environment, inputs, its directory.

Turns a need into its event, NeedReady or NeedFailed. What each kind is and how it is made is in
`bundles`, `environments`, `images`, `inputs` and `commands`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from services.agent.host.offered import OfferedParameters, ParametersMissing
from services.agent.preparation import attachments
from services.agent.preparation.artifacts import TransferFailed
from services.agent.preparation.attachments import AttachmentClashes
from services.agent.preparation.bundles import BundleInvalid, Bundles
from services.agent.preparation.commands import CommandSetup
from services.agent.preparation.environments import EnvironmentFailed, Environments
from services.agent.preparation.images import ImageFailed, Images
from services.agent.preparation.inputs import Inputs, is_sealed
from services.agent.preparation.quoted import ValueUnreadable
from services.agent.tasks.events import Event, NeedFailed, NeedReady
from services.agent.tasks.model import Attachment, Body, Given, Pool, Task
from services.chassis.logs import get_logger

_log = get_logger("agent.preparation")


class Preparer:
    """Prepares needs side by side; the machine asks for each only once at a time."""

    def __init__(
        self,
        bundles: Bundles,
        environments: Environments,
        images: Images,
        inputs: Inputs,
        commands: CommandSetup,
        offered: OfferedParameters,
        tell: Callable[[Event], None],
    ) -> None:
        self._bundles = bundles
        self._environments = environments
        self._images = images
        self._inputs = inputs
        self._commands = commands
        self._offered = offered
        self._tell = tell

    async def prepare(self, need: str, task: Task) -> None:
        """Tells NeedReady or NeedFailed. Safe to cancel: what is half made is made again."""
        try:
            given = await self._prepare(need, task)
        except (
            TransferFailed,
            BundleInvalid,
            EnvironmentFailed,
            ImageFailed,
            AttachmentClashes,
            ParametersMissing,
            ValueUnreadable,
        ) as error:
            _log.info("need_failed", need=need, task=task.key, reason=str(error))
            self._tell(NeedFailed(need, str(error), error.next_step))
        except OSError as error:
            _log.error("need_failed", need=need, task=task.key, reason=str(error))
            message = f"the node could not prepare the task: {error.strerror or error}"
            self._tell(NeedFailed(need, message, "free disk space on the node, then retry the task"))
        else:
            self._tell(NeedReady(need, given))

    def interpreter(self, pool: Pool) -> tuple[str, tuple[str, ...]]:
        """The interpreter of a pool's workers ("": the agent's own) and what stands first in sys.path."""
        python = str(self._environments.python(pool.environment)) if pool.environment else ""
        paths = (str(self._bundles.path(pool.bundle)),) if pool.bundle else ()
        return python, paths

    def input_paths(self, body: Body) -> Mapping[str, str]:
        """Where the inputs that come by digest are."""
        if not body.inputs:
            return {}
        digests = [source for source in body.inputs.values() if isinstance(source, str)]
        return {digest: str(self._inputs.path(digest)) for digest in digests}

    def spoilt(self, body: Body) -> list[str]:
        """The inputs of a call, by digest, that somebody has written to since they were cached."""
        digests = {source for source in body.inputs.values() if isinstance(source, str)}
        return [digest for digest in sorted(digests) if not is_sealed(self._inputs.path(digest))]

    async def _prepare(self, need: str, task: Task) -> Given | None:
        kind, _, rest = need.partition(":")
        body = task.body
        name = rest.rpartition(":")[2]
        if kind == "bundle":
            await self._bundles.fetch(name, body.account)
        elif kind == "input":
            await self._inputs.fetch(name, body.account)
        elif kind == "environment":
            await self._environments.build(name, body.requirements, body.python, is_compiled=body.is_compiled)
        elif kind == "image":
            await self._images.fetch(need, body.image)
        else:
            # At each attempt anew: what an agent's environment offers may have changed since the last one.
            given = self._offered.read(body.parameter_env) if body.parameter_env else None
            await self._mend(body)
            bundle = self._bundles.path(body.bundle) if body.bundle and body.is_command else None
            await asyncio.to_thread(self._stage, task, bundle)
            return given
        return None

    async def _mend(self, body: Body) -> None:
        """Tasks before this one may have written into large files that they shared with the cache."""
        digests = {attachment.digest for attachment in body.attachments if not attachment.is_directory}
        if body.is_command:
            digests.update(source for source in body.inputs.values() if isinstance(source, str))
        for digest in sorted(digests):
            await self._inputs.mend(digest, body.account)

    def _stage(self, task: Task, bundle: Path | None) -> None:
        work = self._commands.stage(task, bundle, self.input_paths(task.body))
        attachments.place(task.body.attachments, work, self.cached)
        if task.body.image:
            self._commands.contained.stage(task)

    async def attach(self, body: Body, changes: tuple[Attachment, ...], work: Path) -> str:
        """Puts changed attachments of a running task in their places; why not, empty: they are there."""
        try:
            for change in changes:
                if change.is_directory and change.digest:
                    await self._bundles.fetch(change.digest, body.account)
                elif change.digest:
                    await self._inputs.fetch(change.digest, body.account)
            await asyncio.to_thread(self._replace, changes, work)
            await asyncio.to_thread(self._commands.contained.open_up, body, work.parent)
        except (TransferFailed, BundleInvalid, AttachmentClashes) as error:
            return f"{error}; {error.next_step}"
        except OSError as error:
            return f"the node could not put it in its place: {error.strerror or error}"
        return ""

    def _replace(self, changes: tuple[Attachment, ...], work: Path) -> None:
        for change in changes:
            if change.digest:
                attachments.replace(change, work, self.cached)
            else:
                attachments.take_away(change.path, work)

    def cached(self, attachment: Attachment) -> Path:
        """Where the content of an attachment is, once it was fetched."""
        store = self._bundles if attachment.is_directory else self._inputs
        return store.path(attachment.digest)
