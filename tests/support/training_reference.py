"""What becomes of one job with fixed counts, as a person would reckon it: by the trainer's page, not by its code.

Knows roles that wait for each other, restarts in a scope paid from purses, two policies and the end. No time passes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Key = tuple[str, int]


@dataclass(frozen=True)
class RoleRule:
    """What a definition says of a role."""

    count: int
    waits_for: tuple[tuple[str, str, str], ...]
    """Role, sign ("address", "started", "log" or "succeeded"), quorum ("all", "any" or "first")."""
    scope: str
    most: int
    is_endless: bool


@dataclass
class Who:
    """One instance: what has been heard of it."""

    is_seated: bool = False
    epoch: int = 0
    phase: str = "waiting"
    """waiting, starting, running, stopping, paused (stopped to start again), succeeded, failed, stopped."""
    has_shown: bool = False
    wants: str = ""
    """Why it is stopped: restart or end."""

    @property
    def is_live(self) -> bool:
        return self.phase in ("starting", "running", "stopping")

    @property
    def is_over(self) -> bool:
        return self.phase in ("succeeded", "failed", "stopped")


@dataclass
class Reckoning:
    """One job."""

    rules: dict[str, RoleRule]
    who: dict[Key, Who] = field(init=False)
    waves: list[set[Key]] = field(default_factory=list)
    purses: dict[str, int] = field(default_factory=dict)
    outcome: str = ""
    state: str = "reserving"

    def __post_init__(self) -> None:
        self.who = {(role, n): Who() for role, rule in self.rules.items() for n in range(rule.count)}

    def of(self, role: str) -> list[Who]:
        return [one for (name, _), one in self.who.items() if name == role]

    # --- what is heard

    def opened(self, key: Key) -> None:
        if not self.outcome:
            self.who[key].is_seated = True

    def started(self, key: Key, epoch: int) -> None:
        one = self.who[key]
        if one.phase == "starting" and one.epoch == epoch:
            one.phase = "running"

    def showed(self, key: Key, epoch: int) -> None:
        one = self.who[key]
        one.has_shown = one.has_shown or one.epoch == epoch

    def ended(self, key: Key, epoch: int, is_good: bool) -> None:
        one = self.who[key]
        if not one.is_live or one.epoch != epoch:
            return
        if one.phase == "stopping":
            is_again = one.wants == "restart" and any(key in wave for wave in self.waves)
            one.phase = "paused" if is_again else "stopped"
        elif self.outcome:
            one.phase = "succeeded" if is_good else "stopped"
        elif is_good:
            one.phase = "succeeded"
        else:
            self._failed(key)

    def asked_to_stop(self) -> None:
        self._decide("stopped")

    def _failed(self, key: Key) -> None:
        role, number = key
        rule = self.rules[role]
        purse = f"{role} {number}" if rule.scope == "instance" else "all"
        if self.purses.get(purse, 0) >= rule.most:
            self.who[key].phase = "failed"
            return
        self.purses[purse] = self.purses.get(purse, 0) + 1
        wave = {
            other
            for other in self.who
            if other == key or rule.scope == "job" or (rule.scope == "role" and other[0] == role)
        }
        for other in [one for one in self.waves if one & wave]:
            wave |= other
            self.waves.remove(other)
        self.waves.append(wave)
        self.state = "restarting"
        for other in wave:
            one = self.who[other]
            if one.is_live and other != key:
                one.phase, one.wants = "stopping", "restart"
            else:
                one.phase = "paused"

    # --- what follows

    def follow(self) -> None:
        """Until nothing follows any more."""
        if self.state == "reserving" and not self.outcome and all(one.is_seated for one in self.who.values()):
            self.state = "starting"
        if self.state != "reserving" and not self.outcome:
            self._go_on()
            self._start()
            self._name_it()
            self._judge()
        if self.outcome and not any(one.is_live for one in self.who.values()):
            self.state = self.outcome

    def _go_on(self) -> None:
        for wave in [one for one in self.waves if not any(self.who[key].is_live for key in one)]:
            self.waves.remove(wave)
            for key in wave:
                self.who[key].phase = "waiting"

    def _start(self) -> None:
        for role, rule in self.rules.items():
            if not all(self._is_met(*edge) for edge in rule.waits_for):
                continue
            for (name, number), one in self.who.items():
                if name == role and one.phase == "waiting" and not self._pauses((name, number)):
                    one.phase, one.epoch, one.has_shown = "starting", one.epoch + 1, False

    def _pauses(self, key: Key) -> bool:
        return any(key in wave for wave in self.waves)

    def _is_met(self, role: str, sign: str, quorum: str) -> bool:
        def shows(one: Who) -> bool:
            if sign == "address":
                return one.is_seated
            if sign == "succeeded":
                return one.phase == "succeeded"
            if sign == "started":
                return one.phase in ("running", "succeeded")
            return one.has_shown

        shown = [shows(one) for one in self.of(role)]
        return {"all": all(shown), "any": any(shown), "first": shown[0]}[quorum]

    def _name_it(self) -> None:
        if self.state == "running" or self.waves:
            return
        is_up = all(one.phase in ("running", "succeeded") for one in self.who.values())
        self.state = "running" if is_up else "starting"

    def _judge(self) -> None:
        ends = [role for role, rule in self.rules.items() if not rule.is_endless]
        if all(one.phase == "succeeded" for role in ends for one in self.of(role)):
            self._decide("succeeded")
        elif any(one.phase == "failed" for one in self.who.values()) or all(
            one.is_over for one in self.who.values()
        ):
            self._decide("failed")

    def _decide(self, outcome: str) -> None:
        if self.outcome:
            return
        self.outcome, self.state, self.waves = outcome, "draining", []
        for one in self.who.values():
            if one.is_live:
                one.phase, one.wants = "stopping", "end"
            elif not one.is_over:
                one.phase = "stopped"

    # --- how it is told

    def states(self) -> dict[Key, str]:
        """In the words of the contract."""
        return {key: self._word(one) for key, one in self.who.items()}

    def _word(self, one: Who) -> str:
        if one.phase == "waiting":
            return "seated" if one.is_seated else "pending"
        return "backing_off" if one.phase == "paused" else one.phase

    def roles(self) -> dict[str, str]:
        """The first policy: all must succeed, any failure counts."""
        return {
            role: self._role(rule, [one.phase for one in self.of(role)]) for role, rule in self.rules.items()
        }

    def _role(self, rule: RoleRule, phases: list[str]) -> str:
        is_restarting = any(
            one.phase == "paused" or (one.phase == "stopping" and one.wants == "restart")
            for one in self.who.values()
            if one.phase in phases and one in self._same(rule)
        )
        if not rule.is_endless and set(phases) == {"succeeded"}:
            return "SUCCEEDED"
        if "failed" in phases:
            return "FAILED"
        if is_restarting:
            return "RESTARTING"
        if set(phases) == {"stopped"}:
            return "STOPPED"
        if set(phases) <= {"running", "succeeded"}:
            return "RUNNING"
        return "WAITING" if set(phases) == {"waiting"} else "STARTING"

    def _same(self, rule: RoleRule) -> list[Who]:
        return [one for role, other in self.rules.items() if other is rule for one in self.of(role)]
