"""RunService: runs are started, seen and steered."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from modelyard.v1 import canvas_pb2, run_pb2_grpc
from modelyard.v1 import run_pb2 as pb
from services.chassis.errors import InvalidArgument
from services.chassis.peers.contacts import Contacts
from services.chassis.requests.answers import Answers
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.chassis.security import ADMIN, account_of, principal
from services.graph.convert.picture import picture_node, run_title
from services.graph.convert.run import ORDERS, STARTS, STATES, live_message, notification_of, telling
from services.graph.engine import Engine
from services.graph.model import GateControl, Graph, Order, Role
from services.graph.projects.access import require_role
from services.graph.projects.starting import Starting, spec_of
from services.graph.records import keeping
from services.graph.records.clearing import Clearing
from services.graph.records.keeping import NodeUnknown, RunGoesOn
from services.graph.records.projects import Project, Projects, number_of
from services.graph.records.store import RunRow
from services.graph.runs import gates, parameters
from services.graph.runs.events import (
    CancelAsked,
    Event,
    GateDecided,
    NodeModified,
    PauseAsked,
    ResumeAsked,
    RunAsked,
)
from services.graph.runs.places import Place, find, node_at, place_of, text_of
from services.graph.runs.state import RunState, Start
from services.graph.servicer import exchange
from services.graph.telling.explaining import Explaining
from services.graph.telling.history import History

PARALLEL_MOST = 1_000_000
COMMENT_LENGTH = 2_000
_FIRST = 1 << 60
_ORDERS = {0: Order.LEVELS} | {value: order for order, value in ORDERS.items()}
_STARTS = {0: Start.READY} | {value: start for start, value in STARTS.items()}
_STATES: dict[int, RunState] = {int(value): state for state, value in STATES.items()}


class RunRequestInvalid(InvalidArgument):
    """A field has no meaning."""


class RunServicer(run_pb2_grpc.RunServiceServicer):
    """Who may run a project may start, cancel, pause, resume and continue; who may see it may look."""

    def __init__(
        self,
        engine: Engine,
        projects: Projects,
        starting: Starting,
        history: History,
        answers: Answers,
        explaining: Explaining,
        contacts: Contacts,
        clearing: Clearing,
    ) -> None:
        self._clearing = clearing
        self._explaining = explaining
        self._contacts = contacts
        self._engine = engine
        self._projects = projects
        self._starting = starting
        self._history = history
        self._answers = answers

    async def StartRun(self, request: pb.StartRunRequest, context: Any) -> pb.StartRunResponse:
        account = account_of(principal())
        project = await self._project(request.project_id)
        spec = spec_of(
            account,
            project.id,
            _of(_ORDERS, request.order, "order"),
            _of(_STARTS, request.start, "start"),
            params=request.params_json,
            max_parallel=_parallel(request.max_parallel),
            refresh=request.refresh,
            comment=request.comment[:COMMENT_LENGTH],
        )
        await self._contacts.check(account, request.notification)
        spec = telling(spec, request.notification)
        plan = await self._starting.plan(project, request.version, spec)
        if request.validate_only:
            return pb.StartRunResponse()
        number = await self._ask(
            lambda reply: RunAsked(reply, plan.spec, plan.graph, plan.plan),
            lambda made: pb.StartRunResponse(run=self._begun(made)),
        )
        return pb.StartRunResponse(run=await self._view(number))

    async def ExplainRun(self, request: pb.ExplainRunRequest, context: Any) -> pb.ExplainRunResponse:
        project = await self._projects.get(number_of(request.project_id))
        require_role(principal(), project, Role.VIEWER)
        order = _of(_ORDERS, request.order, "order")
        _of(_STARTS, request.start, "start")
        if not 0 <= request.version < _FIRST:
            raise RunRequestInvalid("a version is counted from 1; 0: the latest", field="version")
        return await self._explaining.explain(
            project,
            request,
            order,
            account_of(principal()),
            _parallel(request.slots),
        )

    async def ContinueRun(self, request: pb.ContinueRunRequest, context: Any) -> pb.ContinueRunResponse:
        old = await self._history.require(request.run_id, principal(), Role.RUNNER)
        if not old.state.has_ended:
            raise RunGoesOn(
                f"{request.run_id} goes on", field="run_id", next_step=f"yard graph cancel {request.run_id}"
            )
        project = await self._projects.get(number_of(old.spec.project))
        for name, params in request.node_params_json.items():
            parameters.decode_object(params, f"node_params_json[{name!r}]")
        params = parameters.laid_over(old.spec.params, request.params_json)
        spec = spec_of(
            account_of(principal()), project.id, old.spec.order, old.spec.start, params=params,
            max_parallel=old.spec.max_parallel, refresh=old.spec.refresh, comment=old.spec.comment,
            continued_from=old.number,
        )  # fmt: skip
        if spec.account == old.spec.account:
            # Contacts are an account's: somebody else's defaults are told of what they continue.
            spec = telling(spec, notification_of(old.spec))
        plan = await self._starting.plan(project, request.version or old.spec.version, spec)
        patched = dict(request.node_params_json)
        again = frozenset(request.from_nodes) | frozenset(patched)
        asked = keeping.demanded(plan.spec, plan.graph, again)
        kept = await keeping.of_run(self._engine.store, old, plan.graph, again)
        changed = {place: patched[name] for name in patched if (place := find(plan.graph, name)) is not None}
        number = await self._ask(
            lambda reply: RunAsked(reply, asked, plan.graph, plan.plan, kept, changed),
            lambda made: pb.ContinueRunResponse(run=self._begun(made), kept_count=len(kept)),
        )
        return pb.ContinueRunResponse(run=await self._view(number), kept_count=len(kept))

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        row = await self._history.require(request.run_id, principal(), Role.VIEWER)
        return pb.GetRunResponse(run=await self._history.view(row))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:
        caller, size = principal(), page_size(request.page_size)
        account, project = (None if caller.role == ADMIN else account_of(caller)), 0
        if request.project_id:
            found = await self._projects.get(number_of(request.project_id))
            require_role(caller, found, Role.VIEWER)
            account, project = None, found.number
        states = [_of(_STATES, state, "states") for state in request.states]
        key = f"runs {account} {project} {states}".encode()
        before = int(decode_token(request.page_token, key) or _FIRST)
        rows = await self._engine.store.runs(account, project, states, before, size + 1)
        token = encode_token(str(rows[size - 1].number), key) if len(rows) > size else ""
        runs = [await self._history.brief(row) for row in rows[:size]]
        return pb.ListRunsResponse(runs=runs, next_page_token=token)

    async def ListRunNodes(self, request: pb.ListRunNodesRequest, context: Any) -> pb.ListRunNodesResponse:
        row = await self._history.require(request.run_id, principal(), Role.VIEWER)
        size = page_size(request.page_size)
        below = await self._place(row, request.within, "within") if request.within else ()
        with_bodies = not request.without_bodies
        key = f"nodes {row.number} {below} {with_bodies} {request.waiting_gates}".encode()
        token, revision = decode_token(request.page_token, key), self._engine.released_revision
        after = place_of(token) if token else ()
        if request.waiting_gates:
            nodes = await self._history.waiting_gates(row, size + 1, after, below)
        else:
            nodes = await self._history.nodes(row, size + 1, after, below, with_bodies=with_bodies)
        last = text_of(nodes[size - 1][0]) if len(nodes) > size else ""
        token = encode_token(last, key) if last else ""
        shown = [node for _, node in nodes[:size] if not request.states or node.state in request.states]
        return pb.ListRunNodesResponse(nodes=shown, next_page_token=token, revision=revision)

    async def WatchRun(self, request: pb.WatchRunRequest, context: Any) -> AsyncIterator[pb.WatchRunResponse]:
        row = await self._history.require(request.run_id, principal(), Role.VIEWER)
        async for response in self._history.watch(
            row, request.revision, without_nodes=request.without_nodes, without_bodies=request.without_bodies
        ):
            yield response

    async def CancelRun(self, request: pb.CancelRunRequest, context: Any) -> pb.CancelRunResponse:
        row = await self._history.require(request.run_id, principal(), Role.RUNNER)
        if not row.state.has_ended:
            comment = request.comment[:COMMENT_LENGTH]
            await self._ask(lambda reply: CancelAsked(reply, row.number, comment))
        return pb.CancelRunResponse(run=await self._history.view(row))

    async def PauseRun(self, request: pb.PauseRunRequest, context: Any) -> pb.PauseRunResponse:
        row = await self._history.require(request.run_id, principal(), Role.RUNNER)
        await self._ask(lambda reply: PauseAsked(reply, row.number))
        return pb.PauseRunResponse(run=await self._history.view(row))

    async def ResumeRun(self, request: pb.ResumeRunRequest, context: Any) -> pb.ResumeRunResponse:
        row = await self._history.require(request.run_id, principal(), Role.RUNNER)
        await self._ask(lambda reply: ResumeAsked(reply, row.number))
        return pb.ResumeRunResponse(run=await self._history.view(row))

    async def ModifyRunNode(self, request: pb.ModifyRunNodeRequest, context: Any) -> pb.ModifyRunNodeResponse:
        row = await self._history.require(request.run_id, principal(), Role.RUNNER)
        place = await self._node_place(row, request.node_id)
        parameters.decode_object(request.params_json, "params_json")
        await self._ask(lambda reply: NodeModified(reply, row.number, place, request.params_json))
        return pb.ModifyRunNodeResponse(node=await self._history.node(row, place))

    async def DecideGate(self, request: pb.DecideGateRequest, context: Any) -> pb.DecideGateResponse:
        row = await self._history.require(request.run_id, principal(), Role.VIEWER)
        place = await self._node_place(row, request.node_id)
        if request.decision not in (canvas_pb2.GATE_DECISION_APPROVED, canvas_pb2.GATE_DECISION_REJECTED):
            raise RunRequestInvalid("a gate is approved or rejected", field="decision")
        is_approved = request.decision == canvas_pb2.GATE_DECISION_APPROVED
        if not self._approvers(await self._engine.store.graph(row.plan), place):
            await self._history.require(request.run_id, principal(), Role.RUNNER)
        account, is_admin = account_of(principal()), principal().role == ADMIN
        if row.state.has_ended and await self._is_decided(row, place, is_approved):
            control = node_at(await self._engine.store.graph(row.plan), place).control
            if isinstance(control, GateControl):
                gates.require_approver(control, request.node_id, account, is_admin=is_admin)
            return pb.DecideGateResponse(node=await self._history.node(row, place))
        comment = request.comment[:COMMENT_LENGTH]
        await self._ask(
            lambda reply: GateDecided(reply, row.number, place, account, is_admin, is_approved, comment)
        )
        return pb.DecideGateResponse(node=await self._history.node(row, place))

    async def DeleteRun(self, request: pb.DeleteRunRequest, context: Any) -> pb.DeleteRunResponse:
        row = await self._history.require(request.run_id, principal(), Role.EDITOR)
        await self._clearing.delete(row.number, self._answers.keep(lambda _: pb.DeleteRunResponse()))
        return pb.DeleteRunResponse()

    async def GetNodeResult(self, request: pb.GetNodeResultRequest, context: Any) -> pb.GetNodeResultResponse:
        row = await self._history.require(request.run_id, principal(), Role.VIEWER)
        node = await self._history.node(row, await self._node_place(row, request.node_id))
        if node is None:
            raise _unknown(row, request.node_id, "node_id")
        return pb.GetNodeResultResponse(node=node)

    async def ExportRunPicture(
        self, request: pb.ExportRunPictureRequest, context: Any
    ) -> pb.ExportRunPictureResponse:
        row = await self._history.require(request.run_id, principal(), Role.VIEWER)
        run = await self._history.view(row)
        nodes = await self._history.nodes(row, max(1, run.node_count), with_bodies=False)
        drawn = [picture_node(node) for _, node in nodes]
        return pb.ExportRunPictureResponse(svg=await exchange.picture(run_title(run), drawn, run.comment))

    async def _place(self, row: RunRow, node_id: str, field: str) -> Place:
        """Of a node, or of one execution of a body."""
        place = await self._history.place_of(row, node_id)
        if place is None:
            raise _unknown(row, node_id, field)
        return place

    async def _node_place(self, row: RunRow, node_id: str) -> Place:
        place = await self._place(row, node_id, "node_id")
        if len(place) % 2 == 0:
            raise NodeUnknown(
                f"{node_id[:80]} is an execution of a body, no node", field="node_id",
                next_step=f"yard graph show r-{row.number} {node_id[:80]}",
            )  # fmt: skip
        return place

    async def _is_decided(self, row: RunRow, place: Place, is_approved: bool) -> bool:
        """Whether that was decided over a gate of an ended run."""
        record = (await self._engine.store.gates(row.number)).get(place)
        return record is not None and record.is_approved is is_approved

    @staticmethod
    def _approvers(graph: Graph, place: Place) -> tuple[str, ...]:
        control = node_at(graph, place).control
        return control.approvers if isinstance(control, GateControl) else ()

    async def _project(self, project_id: str) -> Project:
        project = await self._projects.get(number_of(project_id))
        require_role(principal(), project, Role.RUNNER)
        return project

    async def _ask(
        self, event_of: Callable[[int], Event], answer_of: Callable[[int], Any] | None = None
    ) -> int:
        """The machine's answer: a run's number, once it is on disk; the answer to the request lies with it."""
        kept = self._answers.keep(answer_of) if answer_of is not None else None
        reply, answer = self._engine.new_reply(kept)
        self._engine.post(event_of(reply))
        return await answer

    def _begun(self, number: int) -> pb.Run:
        """While its first transaction is made."""
        run = self._engine.state.runs.get(number)
        return live_message(run) if run is not None else pb.Run(id=f"r-{number}")

    async def _view(self, number: int) -> pb.Run:
        row = await self._engine.store.run(number)
        assert row is not None
        return await self._history.view(row)


def _unknown(row: RunRow, node_id: str, field: str) -> NodeUnknown:
    return NodeUnknown(
        f"r-{row.number} has no node {node_id[:80]!r}",
        field=field,
        next_step=f"yard graph show r-{row.number}",
    )


def _of(words: Mapping[int, Any], value: int, field: str) -> Any:
    if value not in words:
        raise RunRequestInvalid(f"{field}: {value} means nothing", field=field)
    return words[value]


def _parallel(count: int) -> int:
    if not 0 <= count <= PARALLEL_MOST:
        raise RunRequestInvalid(
            f"max_parallel: {count} is not within 0 … {PARALLEL_MOST}", field="max_parallel"
        )
    return count
