"""What an agent shows of itself when it is scraped."""

from collections import Counter

from services.agent.link.link import Link
from services.agent.link.surroundings import Surroundings
from services.agent.tasks.model import Phase
from services.agent.tasks.state import State
from services.chassis.metrics.figures import Family, gauge


def of_agent(state: State, link: Link, around: Surroundings, workers: int, now_ms: int) -> list[Family]:
    """All of it, as of now by the monotonic clock."""
    phases = Counter(task.phase for task in state.tasks.values())
    by_phase = [((phase.lower(),), float(phases[phase])) for phase in Phase]
    lease_s = max(0.0, (state.lease_until_ms - now_ms) / 1000)
    return [
        Family("gauge", "yard_agent_tasks", "Tasks on this node by phase.", ("phase",), by_phase),
        gauge("yard_agent_workers", "Warm workers and shims.", workers),
        gauge(
            "yard_agent_outbox_events",
            "Events that are not known to be on the scheduler's disk.",
            state.outbox.waiting,
        ),
        gauge(
            "yard_agent_connected", "1 while there is a session with the scheduler.", float(link.is_connected)
        ),
        gauge("yard_agent_lease_seconds", "How long the lease still lasts.", lease_s),
        gauge(
            "yard_agent_loop_lag_seconds", "How late the agent's clock last came.", around.loop_lag_ms / 1000
        ),
    ]
