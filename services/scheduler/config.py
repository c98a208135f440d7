"""What the scheduler can be told."""

from dataclasses import dataclass

from services.chassis.process.config import AuditedConfig, option


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig(AuditedConfig):
    """Options of yard-scheduler."""

    port: int = option(7070, "TCP port to listen on; 0 takes any free one")
    agent_port: int = option(0, "TCP port for agents with client certificates, where TLS is on; 0: port + 9")
    advertise: str = option("", "HOST:PORT that join lines name; empty: where it listens")
    store: str = option("127.0.0.1:7071", "HOST:PORT of the store, asked whether inputs exist")
    low_disk_bytes: int = option(64 << 20, "below this much free disk nothing new is taken")
    fair_share_half_life_s: float = option(
        24 * 3600.0, "seconds after which what an account held counts half as much for its turn"
    )
    node_ttl_s: float = option(
        24 * 3600.0, "seconds that a node's token and certificate last; renewed at two thirds"
    )
    notify_allow: str = option(
        "", "networks that contacts may be in although they are private, for example 10.0.0.0/8,127.0.0.1"
    )
    notify_backoff_s: float = option(
        5.0, "seconds before a message that was not taken is tried again; doubles each time, up to an hour"
    )
    keep_ended_days: float = option(30.0, "days that ended tasks and what they wrote are kept; 0: for ever")
    validate: bool = option(False, "check every invariant after every step; slow, for tests")
