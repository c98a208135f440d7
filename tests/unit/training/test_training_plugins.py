"""Frameworks in Python: the same values as YAML, functions overridden by code, and packages that fail (S3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest

from modelyard.training import (
    Count,
    Counts,
    Create,
    Dependency,
    Ending,
    Framework,
    InstanceView,
    JobPolicy,
    Launch,
    Port,
    Process,
    Purse,
    Readiness,
    ReadinessKind,
    Reason,
    RestartScope,
    Role,
    RolePolicy,
    RoleState,
    ScopeKind,
    Verdict,
    template,
)
from modelyard.training.frameworks import catalogue
from modelyard.training.policies.restarts import Action, Cause, Restart
from modelyard.training.policies.status import condition
from tests.support.training import framework, launched, planned

YAML = """
kind: Framework
id: pair
ranks: [leader, peer]
roles:
  leader:
    count: 1
    service: {ports: {rpc: auto}}
    functions:
      create: {env: {RANK: "${proc.rank}"}}
      ready: {until: listening, port: rpc}
      restart: {when: [exit], scope: job, max: 2}
      status: {endless: true}
  peer:
    count: {default: 2, min: 1}
    functions:
      create: {env: {RANK: "${proc.rank}", LEADER: "${roles.leader[0].addr.rpc}"}}
      depend: [{role: leader}]
job_status: {succeeded: peer, failed: "any(leader, peer)"}
"""


def in_python() -> Framework:
    names = ("leader", "peer")
    leader = Role(
        name="leader",
        count=Count(1, 1, 1),
        ports=(Port("rpc"),),
        creation=Create(env=(("RANK", template("${proc.rank}")),)),
        readiness=Readiness(kind=ReadinessKind.LISTENING, port="rpc"),
        restarts=Restart(when=frozenset({Cause.EXIT}), scope=RestartScope(ScopeKind.JOB), most=2),
        policy=RolePolicy(is_endless=True),
    )
    peer = Role(
        name="peer",
        count=Count(2, 1),
        creation=Create(
            env=(("RANK", template("${proc.rank}")), ("LEADER", template("${roles.leader[0].addr.rpc}")))
        ),
        edges=(Dependency(role="leader"),),
    )
    status = JobPolicy(succeeded=condition("peer", names), failed=condition("any(leader, peer)", names))
    return Framework(id="pair", roles=(leader, peer), ranks=names, job_status=status)


class Odd(Role, frozen=True, kw_only=True):
    """Answers some of its functions by code."""

    def address(self) -> tuple[Port, ...]:
        return (*self.ports, Port("extra"))

    def create(self, instance: InstanceView) -> Launch:
        peers = instance.peers(self.name)
        argv = ("run", str(instance.index), *(peer.place.host for peer in peers))
        return Launch(processes=(Process(argv=argv, env={"P": str(instance.place.ports["extra"])}),))

    def restart(self, ending: Ending, purse: Purse) -> Verdict:
        return Verdict(action=Action.FAIL, reason="ODD", purse=purse)

    def status(self, counts: Counts) -> RoleState:
        return RoleState.SUCCEEDED if counts.succeeded > counts.failed else RoleState.RUNNING


JOB = "{kind: Job, framework: pair, argv: [python, run.py]}"


def test_framework_in_python_is_the_same_value_as_in_yaml() -> None:
    # S3.2
    compiled = framework(YAML)
    assert in_python().roles == compiled.roles
    assert in_python().job_status == compiled.job_status
    assert planned(JOB, in_python()).roles == planned(JOB, compiled).roles


def test_role_that_answers_by_code_is_asked() -> None:
    # S3.2
    plan = planned("{kind: Job, framework: odd}", Framework(id="odd", roles=(Odd(name="a", count=Count(2)),)))
    launch = launched(plan, "a", 1)
    assert launch.processes[0].argv == ("run", "1", "host-00", "host-01")
    assert launch.processes[0].env["P"] == launch.processes[0].env["YARD_PORT_EXTRA"] == "10100"
    role = plan.roles[0].role
    assert role.restart(Ending(cause=Cause.EXIT), Purse()).reason == "ODD"
    assert role.status(Counts(succeeded=2, failed=1)) is RoleState.SUCCEEDED


@contextmanager
def offered(monkeypatch: pytest.MonkeyPatch, folder: Path, source: str, **points: str) -> Iterator[None]:
    """A package that offers frameworks, installed for a moment."""
    (folder / "pair_package.py").write_text(source)
    info = folder / "pair_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pair-package\nVersion: 1.0\n")
    lines = [f"[{catalogue.GROUP}]", *(f"{name} = pair_package:{value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(__import__("sys").modules, "pair_package", raising=False)
    yield
    assert metadata.version("pair-package") == "1.0"


SOURCE = f"""
from modelyard.training import Framework, Role, Create, Dependency, compile_framework, template

pair = compile_framework('''{YAML}''')
def made(): return Framework(id="made", roles=(Role(name="a", creation=Create(argv=(template("x"),))),))
def broken(): raise RuntimeError("no licence")
number = 5
lost = Framework(id="lost", roles=(Role(name="a", edges=(Dependency(role="b"),)),))
"""


def test_packages_offer_frameworks_by_entry_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # S3.2
    with offered(monkeypatch, tmp_path, SOURCE, pair="pair", made="made"):
        found, problems = catalogue.plugins()
        assert (set(found), problems) == ({"pair", "made"}, ())
        assert catalogue.find("made") is not None
        assert planned("{kind: Job, framework: made}").role("a") is not None


def test_package_that_fails_is_told_and_harms_nobody_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with offered(
        monkeypatch, tmp_path, SOURCE, pair="pair", broken="broken", number="number", lost="lost", gone="gone"
    ):
        found, problems = catalogue.plugins()
        assert set(found) == {"pair"}
        told = {problem.path.partition(":")[2] or problem.path: problem for problem in problems}
        assert "no licence" in told["broken"].message
        assert told["number"].reason is told["gone"].reason is Reason.PLUGIN_FAILED
        assert any(problem.reason is Reason.UNKNOWN_ROLE for problem in problems)
