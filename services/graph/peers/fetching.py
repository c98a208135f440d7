"""What a step wishes and has to be waited for: values read, kept and uploaded; what comes of it goes into the inbox.

Every wish that is granted here ends in one event, also where it fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modelyard.errors import YardError
from services.chassis.errors import ServiceError
from services.graph.peers import submissions
from services.graph.peers.patience import Store
from services.graph.records import keeping
from services.graph.records.store import RunStore
from services.graph.runs import effects as e
from services.graph.runs import parameters
from services.graph.runs.caching import computed_by
from services.graph.runs.events import (
    BodyKept,
    CacheAnswered,
    Event,
    InputsUploaded,
    NodeEnded,
    NodePrepared,
    ValuesRead,
    ValuesStored,
)
from services.graph.runs.places import Place, find, node_at
from services.graph.runs.state import Run
from services.graph.runs.step import failed
from services.graph.runs.values import CAUSE_SETUP, Failure

PARAMS_BYTES_MOST = 256 << 10
RUNS_LOOKED_AT = 100
VALUE_BYTES_MOST = 32 << 20
"""Of a value that a control node has to look into: the list of a map, what a branch compares."""


class Fetching:
    """The slow hands of the engine; `run_of` finds a live run, `post` hands events in."""

    def __init__(
        self,
        store: RunStore,
        artifacts: Store,
        run_of: Callable[[int], Run | None],
        post: Callable[[Event], None],
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._run_of = run_of
        self._post = post
        self.uploaded: submissions.Uploaded = {}
        """Inputs that were too large for a message and lie in the store."""

    async def fetch_cached(self, wishes: Sequence[e.FetchCached]) -> None:
        """Results that were computed before."""
        found = await self._store.cached([(wish.account, wish.key) for wish in wishes])
        for wish, entry in zip(wishes, found, strict=True):
            if entry is None:
                self._post(CacheAnswered(wish.run, wish.place, None))
            else:
                run, node_id, outputs = entry
                self._post(CacheAnswered(wish.run, wish.place, outputs, computed_by(node_id, run)))

    async def fetch_kept(self, wishes: Sequence[e.FetchKept]) -> None:
        """What the bodies of maps and loops have left on disk."""
        numbers: dict[tuple[int, Place], list[int]] = {}
        for wish in wishes:
            numbers.setdefault((wish.run, wish.place[:-1]), []).append(wish.place[-1])
        for (number, above), wanted in numbers.items():
            run = self._run_of(number)
            if run is None:
                continue
            found = await keeping.of_bodies(self._store, run, above, wanted)
            for one in wanted:
                self._post(BodyKept(number, (*above, one), found.get(one, {})))

    async def read_values(self, wish: e.ReadValues) -> None:
        """Values that a control node decides by."""
        run = self._run_of(wish.run)
        if run is None:
            return
        try:
            values = {
                name: (await self._artifacts.read(run.spec.account, digest, VALUE_BYTES_MOST)).decode()
                for name, digest in wish.digests.items()
            }
        except (YardError, ValueError) as error:
            failure = Failure(CAUSE_SETUP, f"what it decides by could not be read: {error}")
            self._post(ValuesRead(wish.run, wish.place, {}, failure))
            return
        self._post(ValuesRead(wish.run, wish.place, values))

    async def store_values(self, wish: e.StoreValues) -> None:
        """The lists that a control node has made."""
        run = self._run_of(wish.run)
        if run is None:
            return
        stored = {}
        try:
            for name, value in wish.values.items():
                data = value.encode()
                digest = await self._artifacts.put(run.spec.account, data, f"run:r-{wish.run}")
                stored[name] = (digest, len(data))
        except YardError as error:
            failure = Failure(CAUSE_SETUP, f"its lists could not be kept: {error.message}")
            self._post(ValuesStored(wish.run, wish.place, {}, failure))
            return
        self._post(ValuesStored(wish.run, wish.place, stored))

    async def upload(self, run: int, place: Place, account: str, large: dict[str, bytes]) -> None:
        """What the nodes before gave is too much for a message when taken together."""
        try:
            digests = {
                name: await self._artifacts.put(account, data, f"run:r-{run}") for name, data in large.items()
            }
        except YardError as error:
            self._post(
                NodeEnded(run, place, failed(CAUSE_SETUP, f"its inputs could not be kept: {error.message}"))
            )
            return
        self.uploaded[run, place] = digests
        self._post(InputsUploaded(run, place))

    async def prepare(self, wish: e.Prepare) -> None:
        """Parameters that stand elsewhere (S1.4)."""
        run = self._run_of(wish.run)
        if run is None:
            return
        address = parameters.parse_address(node_at(run.graph, wish.place).parameter_address)
        assert address is not None
        try:
            params = await self._read(run.spec.account, address)
        except (YardError, ServiceError, ValueError) as error:
            failure = Failure(CAUSE_SETUP, f"its parameters at {address.kind}:{address.name}: {error}")
            self._post(NodePrepared(wish.run, wish.place, "", failure))
            return
        self._post(NodePrepared(wish.run, wish.place, params))

    async def _read(self, account: str, address: parameters.Address) -> str:
        """A JSON object. Raises YardError, ServiceError, ValueError."""
        if address.kind == "artifact":
            text = (await self._artifacts.read(account, address.name, PARAMS_BYTES_MOST)).decode()
        else:
            text = await self._read_project(account, address.name)
        parameters.decode_object(text, address.name)
        return text

    async def _read_project(self, account: str, name: str) -> str:
        """What the latest run of "ID/VERSION/NODE" that this account made has recorded. Raises ValueError."""
        project, _, rest = name.partition("/")
        version, _, node_id = rest.partition("/")
        if not (project.startswith("p-") and project[2:].isdecimal() and version.isdecimal() and node_id):
            raise ValueError("it is not project:ID/VERSION/NODE")
        for row in await self._store.runs(account, int(project[2:]), (), 1 << 60, RUNS_LOOKED_AT):
            if row.spec.version != int(version):
                continue
            place = find(await self._store.graph(row.plan), node_id)
            found = await self._store.node(row.number, place) if place is not None else None
            if found is not None and found.end.outputs and found.end.outputs[0].value:
                return found.end.outputs[0].value
        raise ValueError("no run of it has recorded a small value there")
