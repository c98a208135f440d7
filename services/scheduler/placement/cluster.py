"""The nodes as the scheduler sees them, and the log of which of them changed.

Every change of a node that placement could care for raises its version and is noted in the cluster's log, from
which each queue's index catches up; so a decision costs what has changed, not how many nodes there are. Pure.
"""

from collections import deque
from collections.abc import Mapping
from typing import Protocol

import msgspec

from services.scheduler.model import NodeState, Shape
from services.scheduler.placement import occupancy
from services.scheduler.resources import GPU, Amounts, Devices


class Hold(Protocol):
    """What a node must know of a hold."""

    def admits(self, node: "Node", shape: Shape) -> bool: ...

    def words(self) -> str: ...


class Room(msgspec.Struct, frozen=True):
    """Capacity of a node that is kept for a task to come."""

    key: int
    amounts: Amounts
    devices: tuple[int, ...]


class Node:
    """One agent's machine. Changed only through the methods of `Cluster`."""

    __slots__ = (
        "_score",
        "acked_command",
        "agent_labels",
        "agent_version",
        "beat_ms",
        "boot_id",
        "capacity",
        "command",
        "complaint",
        "connect_ms",
        "declared",
        "devices",
        "drain_again_ms",
        "drain_deadline_ms",
        "enforcement",
        "expected",
        "held_last_ms",
        "held_until_ms",
        "hold",
        "hold_count",
        "id",
        "incarnation",
        "is_cordoned",
        "is_leaving",
        "label_overrides",
        "labels",
        "last_event",
        "lease_ms",
        "lease_span_ms",
        "measured",
        "newer",
        "newer_sum",
        "operators",
        "ordinal",
        "pool",
        "prefilled",
        "reserved",
        "rooms",
        "samples",
        "session",
        "state",
        "tasks",
        "troubles",
        "unheard",
        "version",
        "wall_beat_ms",
        "windows",
    )  # fmt: skip

    def __init__(self, node_id: str, ordinal: int) -> None:
        self.id = node_id
        self.ordinal = ordinal
        self.state = NodeState.LOST
        self.session = 0
        self.incarnation = 0
        self.boot_id = ""
        self.agent_version = ""
        self.enforcement = ""
        # What the agent says, what was changed since (None: removed), and what comes of both.
        self.agent_labels: dict[str, str] = {}
        self.label_overrides: dict[str, str | None] = {}
        self.labels: dict[str, str] = {}
        # The value of the label "pool".
        self.pool = ""
        self.operators: frozenset[str] = frozenset()
        # What the agent says it has, and that or what runs there already if it is more.
        self.declared: dict[str, int] = {}
        self.capacity: dict[str, int] = {}
        self.reserved: dict[str, int] = {}
        self.devices = Devices(())
        # Task keys that hold a reservation, and those that wait in the agent's queue.
        self.tasks: dict[int, Amounts] = {}
        self.prefilled: deque[int] = deque()
        # Capacity that is kept free for a task to come, by a key that is no task's.
        self.rooms: dict[int, Room] = {}
        # For whom it is kept, and whom it admits meanwhile.
        self.hold: Hold | None = None
        # Tasks that were on it when the scheduler restarted; settled by its next hello, or when it is lost.
        self.expected: set[int] = set()
        self.windows: Mapping[int, Mapping[str, int]] = {}
        self.measured: Mapping[str, int] = {}
        # (command number, amounts) that the last beat could not show yet, and their sum.
        self.newer: deque[tuple[int, Amounts]] = deque()
        self.newer_sum: dict[str, int] = {}
        self.command = 0
        self.acked_command = 0
        self.last_event = 0
        # What its tasks were last measured at: (cpu, memory) by key.
        self.samples: Mapping[int, tuple[int, int]] = {}
        self.is_cordoned = False
        # The agent itself wants no more work.
        self.is_leaving = False
        # Wall clock: when a drain ends what runs (0: nobody drains it), and when what is left is told so again.
        self.drain_deadline_ms = 0
        self.drain_again_ms = 0
        # When its stream was lost or reset lately, by the monotonic clock; the command that it is yet to acknowledge
        # and since when; until when it is held back, by the wall clock (0: it is not), how often, and the last end.
        self.troubles: deque[int] = deque()
        self.unheard = (0, 0)
        self.held_until_ms = 0
        self.held_last_ms = 0
        self.hold_count = 0
        # What is wrong with it, for people.
        self.complaint = ""
        # Monotonic: until when the agent is believed, and when it was last heard.
        self.lease_ms = 0
        # How long the lease was when it was given last.
        self.lease_span_ms = 0
        self.beat_ms = 0
        self.connect_ms = 0
        self.wall_beat_ms = 0
        self.version = 0
        self._score: float | None = None

    @property
    def score(self) -> float:
        """Occupancy of the worst resource, computed when asked for after a change."""
        if self._score is None:
            self._score = occupancy.worst(self.capacity, self.reserved, self.measured, self.newer_sum)
        return self._score

    def believed(self) -> list[int]:
        """Every task that the scheduler thinks this node has."""
        return [*self.tasks, *self.prefilled, *sorted(self.expected)]

    @property
    def is_draining(self) -> bool:
        return self.is_leaving or self.drain_deadline_ms != 0

    def takes_work(self) -> bool:
        return self.state is NodeState.READY and self.session != 0

    def matches(self, shape: Shape) -> bool:
        """Whether this node may ever run the shape, however busy it is."""
        if shape.node and shape.node != self.id:
            return False
        if shape.pool != self.pool or self.id in shape.avoid:
            return False
        if shape.operator and shape.operator not in self.operators:
            return False
        if any(self.labels.get(key) != value for key, value in shape.labels):
            return False
        return all(self.capacity.get(name, 0) >= amount for name, amount in shape.amounts)

    def fits(self, amounts: Amounts) -> bool:
        """Whether what is asked is free now. A node with waiting tasks takes no direct start: they go first."""
        if self.prefilled:
            return False
        return self.has_room(amounts)

    def has_room(self, amounts: Amounts) -> bool:
        for name, amount in amounts:
            if self.capacity.get(name, 0) - self.reserved.get(name, 0) < amount:
                return False
            if name == GPU and self.devices.choose(amount) is None:
                return False
        return True


class Cluster:
    """All nodes, and the log of changes that the placement indexes read."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.made = 0
        # Above that of every forgotten node, so that an index takes no new node of the name for the old one.
        self.first_version = 0
        # Ids of changed nodes; entry i is change number base + i.
        self.log: list[str] = []
        self.base = 0
        # Up to where some index has read; a repeated change beyond it needs no second entry.
        self.read_end = 0
        # Nodes that changed for the better, for whoever was set aside.
        self.gained: dict[str, None] = {}
        # Counts changes, those that the log leaves out too.
        self.changes = 0
        self.rooms_made = 0
        # What the nodes have together is no longer what it was.
        self.is_resized = False

    def totals(self) -> dict[str, int]:
        """What the nodes have together that are not lost."""
        found: dict[str, int] = {}
        for node in self.nodes.values():
            if node.state is not NodeState.LOST:
                for name, amount in node.capacity.items():
                    found[name] = found.get(name, 0) + amount
        return found

    def add(self, node_id: str) -> Node:
        node = self.nodes.get(node_id)
        if node is None:
            node = self.nodes[node_id] = Node(node_id, self.made)
            node.version = self.first_version
            self.made += 1
        return node

    def forget(self, node: Node) -> None:
        """Drops a node that holds nothing; the indexes notice."""
        del self.nodes[node.id]
        self.first_version = max(self.first_version, node.version + 2)
        self.touch(node)

    def take_gained(self) -> dict[str, None]:
        """Ids of the nodes that gained since this was asked last."""
        gained, self.gained = self.gained, {}
        return gained

    @property
    def end(self) -> int:
        """Number of the next change."""
        return self.base + len(self.log)

    def read(self, position: int) -> list[str] | None:
        """Nodes changed since ``position``, each once; None: too long ago, look at all of them."""
        self.read_end = self.end
        if position < self.base:
            return None
        changed = self.log[position - self.base :]
        return changed if len(changed) == 1 else list(dict.fromkeys(changed))

    def touch(self, node: Node, *, is_gain: bool = False) -> None:
        """Notes a change that placement could care for; a gain lets tasks that were set aside try again."""
        node.version += 1
        self.changes += 1
        node._score = None
        if is_gain:
            self.gained[node.id] = None
        if self.log and self.log[-1] == node.id and self.read_end < self.end:
            return
        self.log.append(node.id)
        if len(self.log) > 4 * len(self.nodes) + 4096:
            half = len(self.log) // 2
            self.base += half
            del self.log[:half]

    def reserve(self, node: Node, key: int, amounts: Amounts, devices: tuple[int, ...]) -> None:
        """Promises amounts to a task; the caller has asked `Node.has_room`."""
        node.tasks[key] = amounts
        reserved = node.reserved
        for name, amount in amounts:
            reserved[name] = reserved.get(name, 0) + amount
            if name == GPU:
                node.devices.take(devices, amount)
        self.touch(node)

    def change(self, node: Node, key: int, amounts: Amounts) -> None:
        """Promises a task that holds something other amounts; devices stay. What is more, there is room for."""
        former = dict(node.tasks[key])
        node.tasks[key] = amounts
        for name in former.keys() | dict(amounts).keys():
            more = dict(amounts).get(name, 0) - former.get(name, 0)
            left = node.reserved[name] = node.reserved.get(name, 0) + more
            if more < 0 and node.capacity[name] != node.declared.get(name, 0):
                node.capacity[name] = max(left, node.declared.get(name, 0))
        self.touch(node, is_gain=True)

    def keep_room(self, node: Node, amounts: Amounts) -> Room:
        """Keeps amounts free for a task to come; the caller has asked `Node.has_room`."""
        self.rooms_made += 1
        devices = next((node.devices.choose(a) or () for name, a in amounts if name == GPU), ())
        room = node.rooms[self.rooms_made] = Room(self.rooms_made, amounts, devices)
        for name, amount in amounts:
            node.reserved[name] = node.reserved.get(name, 0) + amount
            if name == GPU:
                node.devices.take(devices, amount)
        self.touch(node)
        return room

    def give_up_room(self, node: Node, key: int, *, is_gain: bool = True) -> None:
        """Ends what `keep_room` began. Without a gain nobody who was set aside tries again for it."""
        room = node.rooms.pop(key, None)
        if room is not None:
            self._return(node, room.amounts, room.devices)
            self.touch(node, is_gain=is_gain)

    def expect(self, node: Node, command: int, amounts: Amounts) -> None:
        """Adds a command's estimate until a beat can show it; `reserve` follows and notes the change."""
        node.newer.append((command, amounts))
        for name, amount in amounts:
            node.newer_sum[name] = node.newer_sum.get(name, 0) + amount

    def free(self, node: Node, key: int, devices: tuple[int, ...]) -> bool:
        """Takes the promise back. False: there was none."""
        amounts = node.tasks.pop(key, None)
        if amounts is None:
            return False
        self._return(node, amounts, devices)
        self.touch(node, is_gain=True)
        return True

    def _return(self, node: Node, amounts: Amounts, devices: tuple[int, ...]) -> None:
        for name, amount in amounts:
            left = node.reserved[name] = node.reserved[name] - amount
            if node.capacity[name] != node.declared.get(name, 0):
                node.capacity[name] = max(left, node.declared.get(name, 0))
            if name == GPU:
                node.devices.give_back(devices, amount)

    def stretch(self, node: Node, amounts: Amounts) -> None:
        """Makes room for what runs there already: a fact, even where the machine has become smaller."""
        for name, amount in amounts:
            node.capacity[name] = max(node.capacity.get(name, 0), node.reserved.get(name, 0) + amount)

    def resize(self, node: Node, declared: dict[str, int]) -> None:
        """Takes in what the agent declares; nothing that is promised is cut, until it is given back."""
        self.is_resized = True
        node.declared = declared
        node.capacity = {
            name: max(declared.get(name, 0), node.reserved.get(name, 0)) for name in declared | node.reserved
        }

    def measure(self, node: Node, windows: Mapping[int, Mapping[str, int]], as_of_command: int) -> None:
        """Takes a beat's figures in; estimates of commands that they show are dropped."""
        node.windows = windows
        node.measured = windows.get(occupancy.PLACEMENT_WINDOW_S, {})
        while node.newer and node.newer[0][0] <= as_of_command:
            _, amounts = node.newer.popleft()
            for name, amount in amounts:
                node.newer_sum[name] -= amount
        after = occupancy.worst(node.capacity, node.reserved, node.measured, node.newer_sum)
        if abs(after - node.score) > 0.005:
            self.touch(node)
