"""`Client`: the yard for asyncio code.

Owns how calls become parts of the one session stream, and how outcomes become values.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from modelyard import settings as yard_settings
from modelyard.client.connection import Connection
from modelyard.client.outcomes import TaskFailed, value_of
from modelyard.client.session import Part, TaskSession
from modelyard.client.sinks import Many, Single, chunks
from modelyard.client.specs import (
    InvalidSpecification,
    Options,
    command_spec,
    encode_params,
    operator_spec,
)
from modelyard.settings import Settings
from modelyard.v1 import task_pb2

if TYPE_CHECKING:
    from modelyard.client.accounts import Accounts, Tokens
    from modelyard.client.artifacts import Artifacts, AttachmentSource, InputSource
    from modelyard.client.audit import Audit
    from modelyard.client.contacts import Contacts
    from modelyard.client.deployments import Deployments
    from modelyard.client.graph import Projects
    from modelyard.client.jobs import Jobs
    from modelyard.client.lineage import Lineage
    from modelyard.client.models import Models
    from modelyard.client.nodes import Nodes
    from modelyard.client.operators import Operators
    from modelyard.client.queues import Queues
    from modelyard.client.runs import Runs
    from modelyard.client.sweeps import Sweeps
    from modelyard.client.tasks import Tasks
    from modelyard.client.triggers import Triggers


class Client:
    """One yard, for one event loop. Use it as a context manager.

    Without arguments it is the yard that `yard` on the command line would use. `first_patience_s`: how long
    an unreachable yard is tried, less where `refusal_is_final` and nobody listens; `patience_s`: the same
    once it was reached, so that a restart goes unnoticed.
    """

    def __init__(
        self,
        endpoint: str = "",
        *,
        store: str = "",
        graph: str = "",
        trainer: str = "",
        models: str = "",
        token: str = "",
        token_file: str | Path = "",
        ca_file: str | Path = "",
        context: str = "",
        state: str | Path = "",
        first_patience_s: float = 5.0,
        patience_s: float = 300.0,
        refusal_is_final: bool = False,
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings or yard_settings.load(
            {
                "endpoint": endpoint,
                "store": store,
                "graph": graph,
                "trainer": trainer,
                "models": models,
                "token": token,
                "token_file": str(token_file),
                "ca_file": str(ca_file),
                "context": context,
                "state": str(state),
            }
        )
        self.connection = Connection(
            self.settings,
            first_patience_s=first_patience_s,
            patience_s=patience_s,
            refusal_is_final=refusal_is_final,
        )
        self._specs: dict[str, bytes] = {}
        self._session = TaskSession(self.connection)

    # The groups are loaded when they are first used: one call needs none of them.

    @cached_property
    def tasks(self) -> Tasks:
        """The tasks of the caller's account."""
        from modelyard.client.tasks import Tasks

        return Tasks(self.connection)

    @cached_property
    def nodes(self) -> Nodes:
        """The machines that run agents."""
        from modelyard.client.nodes import Nodes

        return Nodes(self.connection)

    @cached_property
    def accounts(self) -> Accounts:
        """The accounts; for administrators."""
        from modelyard.client.accounts import Accounts

        return Accounts(self.connection)

    @cached_property
    def tokens(self) -> Tokens:
        """The secrets that speak for accounts."""
        from modelyard.client.accounts import Tokens

        return Tokens(self.connection)

    @cached_property
    def projects(self) -> Projects:
        """Projects, their canvases and versions."""
        from modelyard.client.graph import Projects

        return Projects(self.connection)

    @cached_property
    def jobs(self) -> Jobs:
        """Training jobs."""
        from modelyard.client.jobs import Jobs

        return Jobs(self.connection)

    @cached_property
    def sweeps(self) -> Sweeps:
        """Training jobs that search for values."""
        from modelyard.client.sweeps import Sweeps

        return Sweeps(self.connection)

    @cached_property
    def models(self) -> Models:
        """Models, their versions and configurations."""
        from modelyard.client.models import Models

        return Models(self.connection, self.artifacts)

    @cached_property
    def deployments(self) -> Deployments:
        """What is served, and where it is loaded."""
        from modelyard.client.deployments import Deployments

        return Deployments(self.connection)

    @cached_property
    def runs(self) -> Runs:
        """Canvases executed."""
        from modelyard.client.runs import Runs

        return Runs(self.connection)

    @cached_property
    def triggers(self) -> Triggers:
        """What starts runs by itself, and back-fills."""
        from modelyard.client.triggers import Triggers

        return Triggers(self.connection)

    @cached_property
    def queues(self) -> Queues:
        """The queues that tasks wait in."""
        from modelyard.client.queues import Queues

        return Queues(self.connection)

    @cached_property
    def artifacts(self) -> Artifacts:
        """Bytes by their sha256."""
        from modelyard.client.artifacts import Artifacts

        return Artifacts(self.connection)

    @cached_property
    def operators(self) -> Operators:
        """The operators that the agents offer."""
        from modelyard.client.operators import Operators

        return Operators(self.connection)

    @cached_property
    def audit(self) -> Audit:
        """Who changed what, and who was refused; for administrators."""
        from modelyard.client.audit import Audit

        return Audit(self.connection)

    @cached_property
    def lineage(self) -> Lineage:
        """Where things come from, and what became of them."""
        from modelyard.client.lineage import Lineage

        return Lineage(self.connection)

    @cached_property
    def contacts(self) -> Contacts:
        """Where people are told how their work ended."""
        from modelyard.client.contacts import Contacts

        return Contacts(self.connection)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the session and the channels; tasks go on. Idempotent."""
        await self._session.close()
        await self.connection.close()

    async def call(
        self,
        operator: str,
        params: Mapping[str, Any] | None = None,
        /,
        *,
        inputs: Mapping[str, InputSource] | None = None,
        attachments: Mapping[str, AttachmentSource] | None = None,
        options: Options | None = None,
        **more: Any,
    ) -> Any:
        """Runs one operator and returns what it returned; raises TaskFailed.

        Parameters are keyword arguments, or a mapping where a name would clash. Cancelling the call leaves
        the task running.
        """
        params_json = encode_params({**params, **more} if params else more)
        spec = await self._operator(operator, inputs, attachments, options)
        outcome = await self._outcome(spec, params_json)
        if outcome.result.value_digest:
            return await self._stored_value(outcome)
        return value_of(outcome)

    async def map(
        self,
        operator: str,
        params_list: Iterable[Mapping[str, Any]],
        /,
        *,
        inputs: Mapping[str, InputSource] | None = None,
        attachments: Mapping[str, AttachmentSource] | None = None,
        options: Options | None = None,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """Calls one operator once for each mapping of parameters; the results in the same order.

        The first failure raises TaskFailed while the others go on, or is put in the result's place with
        return_exceptions.
        """
        spec = await self._operator(operator, inputs, attachments, options)
        sink = Many(asyncio.get_running_loop(), return_exceptions)
        for chunk in chunks(params_list):
            self._session.submit(Part(spec, chunk, sink, first=sink.grow(len(chunk))))
            await asyncio.sleep(0)  # the first messages leave while the rest is encoded
        results = await sink.results()
        for index, outcome in sink.stored.items():
            results[index] = await self._stored_value(outcome)
        return results

    async def run(
        self,
        argv: Sequence[str],
        /,
        *,
        directory: str | Path | None = None,
        params: Mapping[str, Any] | None = None,
        inputs: Mapping[str, InputSource] | None = None,
        attachments: Mapping[str, AttachmentSource] | None = None,
        options: Options | None = None,
        check: bool = True,
    ) -> task_pb2.Task:
        """Runs a command on the best node and returns its ended task; raises TaskFailed, unless check is False.

        `directory` is what it runs in: packed, shipped once, and not written back.
        """
        spec = command_spec(argv, options)
        await self.attach(spec, inputs=inputs, attachments=attachments, directory=directory)
        outcome = await self._outcome(spec.SerializeToString(), encode_params(params or {}))
        task = await self.tasks.get(outcome.task_id)
        if check and task.state != task_pb2.TASK_STATE_SUCCEEDED:
            raise TaskFailed(task)
        return task

    async def outcome(self, task_id: str) -> task_pb2.TaskOutcome:
        """The end of a task, pushed as soon as it is recorded. Cancelling leaves the task running."""
        sink = Single(asyncio.get_running_loop())
        self._session.follow(task_id, sink)
        return await self._wait(sink, task_id)

    async def attach(
        self,
        spec: task_pb2.TaskSpec,
        *,
        inputs: Mapping[str, InputSource] | None = None,
        attachments: Mapping[str, AttachmentSource] | None = None,
        directory: str | Path | None = None,
    ) -> None:
        """Puts inputs, attachments and a directory into a specification: small inputs inline, the rest by the store.

        ``attachments``: by the path that they will have below the task's working directory.
        """
        for name, source in (inputs or {}).items():
            spec.inputs[name].CopyFrom(await self.artifacts.input(source, name))
        for path, attached in (attachments or {}).items():
            spec.attachments.append(await self.artifacts.attachment(attached, path))
        if directory is not None:
            spec.bundle_digest = await self.artifacts.bundle(directory)

    async def _operator(
        self,
        operator: str,
        inputs: Mapping[str, InputSource] | None,
        attachments: Mapping[str, AttachmentSource] | None,
        options: Options | None,
    ) -> bytes:
        plain = not inputs and not attachments and not options
        encoded = self._specs.get(operator) if plain else None
        if encoded is None:
            if not isinstance(operator, str) or not operator:
                raise InvalidSpecification(
                    "an operator is named by text, for example 'echo'", "operator.operator"
                )
            spec = operator_spec(operator, options)
            await self.attach(spec, inputs=inputs, attachments=attachments)
            encoded = spec.SerializeToString()
            if plain:
                self._specs[operator] = encoded
        return encoded

    async def _outcome(self, spec: bytes, params_json: str) -> task_pb2.TaskOutcome:
        sink = Single(asyncio.get_running_loop())
        self._session.submit(Part(spec, (params_json,), sink))
        return await self._wait(sink, "")

    async def _wait(self, sink: Single, task_id: str) -> task_pb2.TaskOutcome:
        try:
            return await sink.future
        except asyncio.CancelledError:
            self._session.forget(sink.task_id or task_id)
            raise

    async def _stored_value(self, outcome: task_pb2.TaskOutcome) -> Any:
        outcome.result.value_json = (await self.artifacts.read(outcome.result.value_digest)).decode()
        return value_of(outcome)
