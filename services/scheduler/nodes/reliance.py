"""Whether a node is relied on: agents that beat and do not take commands, and those that come and go too often. Pure.

The first are suspected and their stream is reset, because nothing but a new hello tells what they have. Either kind is
held back after several such troubles within a few minutes: no new work for a while, longer with each time. What a node
has goes on. Not durable: a scheduler that was restarted finds out anew.
"""

from services.scheduler.model import NodeState, Now
from services.scheduler.placement.cluster import Node
from services.scheduler.state.effects import CloseSession, Effects
from services.scheduler.state.state import State

# A command that is not acknowledged for so long, while beats come, was not heard.
DEAF_MS = 10_000
# Within this time these many troubles are too many; a lost stream is one, deafness is half of them.
TROUBLE_MS = 300_000
MOST_TROUBLES = 10
DEAF_TROUBLES = 5
FIRST_HOLD_MS, LAST_HOLD_MS = 30_000, 1_800_000
# So long after a hold the next one is short again.
FORGIVE_MS = 3_600_000
# When more of the fleet would be held back the fault is more likely here.
MOST_SHARE = 0.4


def hear(state: State, node: Node, as_of_command: int, now: Now, effects: Effects) -> None:
    """A beat came. Looks whether commands do arrive there; costs nothing where they do."""
    heard = max(node.acked_command, as_of_command)
    if heard >= node.command:
        node.unheard = (0, 0)
        return
    number, since_ms = node.unheard
    if heard >= number:
        node.unheard = (node.command, now.monotonic_ms)
    elif now.monotonic_ms - since_ms >= DEAF_MS:
        _suspect_deaf(state, node, number, now, effects)


def _suspect_deaf(state: State, node: Node, command: int, now: Now, effects: Effects) -> None:
    why = f"it beats and has not taken command {command} for {DEAF_MS // 1000} s; its stream is reset"
    node.complaint = why
    effects.closes.append(CloseSession(node.id, node.session, why))
    node.session = 0
    node.unheard = (0, 0)
    if node.state is NodeState.READY:
        node.state = NodeState.SUSPECT
    note(node, DEAF_TROUBLES, now)
    state.cluster.is_resized = True
    state.cluster.touch(node)
    effects.changed_nodes.add(node.id)


def note(node: Node, troubles: int, now: Now) -> None:
    """The stream of a node was lost, or had to be reset."""
    node.troubles.extend([now.monotonic_ms] * troubles)
    while node.troubles and now.monotonic_ms - node.troubles[0] > TROUBLE_MS:
        node.troubles.popleft()


def welcome(state: State, node: Node, now: Now) -> None:
    """The node is back: held back if that was too often."""
    node.unheard = (0, 0)
    note(node, 0, now)
    if node.held_until_ms or len(node.troubles) < MOST_TROUBLES:
        node.complaint = node.complaint if node.held_until_ms else ""
        return
    held = sum(other.held_until_ms > 0 for other in state.cluster.nodes.values())
    if held + 1 > max(1, MOST_SHARE * len(state.cluster.nodes)):
        return
    if now.wall_ms - node.held_last_ms > FORGIVE_MS:
        node.hold_count = 0
    node.held_until_ms = now.wall_ms + min(FIRST_HOLD_MS << node.hold_count, LAST_HOLD_MS)
    node.held_last_ms = node.held_until_ms
    node.hold_count = min(node.hold_count + 1, 16)
    minutes = TROUBLE_MS // 60_000
    node.complaint = f"held back: its stream was lost or reset too often within {minutes} minutes"
    node.troubles.clear()


def is_hold_over(node: Node, now: Now) -> bool:
    """Whether a node that was held back may be relied on again."""
    return node.held_until_ms != 0 and now.wall_ms >= node.held_until_ms


def trust(node: Node) -> None:
    """Its time is over, or somebody knows better."""
    node.held_until_ms = 0
    node.complaint = ""
    node.troubles.clear()
