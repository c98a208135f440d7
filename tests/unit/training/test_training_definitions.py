"""Definitions and job files: what they come to, and how everything that is wrong is told at once, each at its place."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from modelyard.documents.problems import Kind
from modelyard.training import Cause, Changes, Problem, Reason, ScopeKind, problems_of
from modelyard.training.frameworks.catalogue import find
from tests.support.training import framework, launched, planned, refused, refused_framework, said

MINE = """\
kind: Framework
id: mine
summary: A server and its clients.
params:
  n: {type: int, default: 2, min: 1, max: 9}
  mode: {type: str, default: fast, choices: [fast, slow]}
  wait: {type: duration, default: 90s}
ranks: [client]
roles:
  server:
    count: 1
    service: {ports: {rpc: auto, web: {from: 8000, to: 8100}, fixed: 4000}}
    functions:
      create: {argv: [serve, "--port=${self.port.rpc}"]}
      ready: {until: listening, port: rpc}
      status: {failed: any, endless: true}
      restart: {when: [exit, node_lost], scope: [server, client], max: 2, backoff: [2s, 1m], reset_after: 5m}
      stop: {signal: INT, grace: 3s}
  client:
    count: {default: 2, min: 1, max: 5, elastic: true}
    functions:
      create:
        procs: ${params.n}
        env: {RANK: "${proc.rank}", MODE: "${params.mode}", WAIT: "${params.wait}"}
        env_json: {SERVER: "${roles.server[0].addr.rpc}"}
      depend: [{role: server, timeout: 30s}]
      clean: {at_end: drain, drain: 10s, keep: ["*.pt"]}
job_status: {succeeded: client}
"""
JOB = """\
kind: Job
framework: mine
argv: [python, run.py]
"""


def places_of(problems: Sequence[Problem]) -> list[tuple[str, int, int]]:
    return [(problem.path, problem.line, problem.column) for problem in problems]


def test_definition_compiled_gives_values_for_every_function() -> None:
    # S3.2
    found = framework(MINE)
    server, client = found.roles
    assert [(port.name, port.low, port.high) for port in server.address()] == [
        ("rpc", 0, 0), ("web", 8000, 8100), ("fixed", 4000, 4000),
    ]  # fmt: skip
    assert server.ready().port == "rpc"
    assert server.restarts.when == {Cause.EXIT, Cause.NODE_LOST}
    assert (server.restarts.scope.kind, server.restarts.scope.roles) == (
        ScopeKind.ROLES,
        ("server", "client"),
    )
    assert (server.restarts.backoff_s, server.restarts.backoff_most_s, server.restarts.reset_after_s) == (
        2,
        60,
        300,
    )
    assert (server.stop().signal, server.stop().grace_s) == ("INT", 3)
    assert (client.clean().drain_s, client.clean().keep) == (10, ("*.pt",))
    assert (client.count.least, client.count.default, client.count.most, client.count.is_elastic) == (
        1,
        2,
        5,
        True,
    )
    assert str(found.job_status.succeeded) == "client"
    # What is not said: all roles may fail the job.
    assert str(found.job_status.failed) == "any(server, client)"


def test_edge_without_a_kind_waits_for_what_the_other_role_calls_ready() -> None:
    # S3.5
    (edge,) = planned(JOB, framework(MINE)).edges("client")
    assert (edge.until.kind.value, edge.until.port, edge.timeout_s) == ("listening", "rpc", 30)


def test_params_given_by_file_and_by_caller_are_typed_and_laid_over_defaults() -> None:
    plan = planned(
        JOB + "params: {mode: slow}\n", framework(MINE), changes=Changes(params={"n": 1, "wait": "2m"})
    )
    assert said(plan, "client", 1) == {
        "RANK": "1",
        "MODE": "slow",
        "WAIT": "120.0",
        "SERVER": '"host-00:10000"',
    }
    assert plan.params == {"n": 1, "mode": "slow", "wait": 120.0}


def test_counts_given_by_the_caller_go_before_those_of_the_file() -> None:
    # S3.4
    plan = planned(
        JOB + "roles: {client: {count: 3}}\n", framework(MINE), changes=Changes(counts={"client": 4})
    )
    role = plan.role("client")
    assert role is not None
    assert (role.count, role.least, role.most, role.gang_least, role.processes) == (4, 1, 5, 1, 2)


def test_environment_of_the_job_goes_before_that_of_the_framework() -> None:
    plan = planned(
        JOB + "env: {A: all}\nroles: {client: {env: {MODE: own, A: '${role.name}'}}}\n", framework(MINE)
    )
    assert said(plan, "client")["MODE"] == "own"
    assert said(plan, "client")["A"] == "client"
    assert said(plan, "server") == {"A": "all"}


def test_command_of_everybody_leaves_a_role_whose_framework_brings_one() -> None:
    plan = planned(JOB, framework(MINE))
    assert launched(plan, "server").processes[0].argv == ("serve", "--port=10000")
    assert launched(plan, "client").processes[0].argv == ("python", "run.py")


def test_restart_of_the_job_is_laid_over_that_of_the_framework() -> None:
    # S3.8
    plan = planned(JOB + "roles: {server: {restart: {max: 7}}}\n", framework(MINE))
    server = plan.role("server")
    assert server is not None
    assert (server.role.restarts.most, server.role.restarts.when) == (7, {Cause.EXIT, Cause.NODE_LOST})


def test_definition_may_stand_before_its_job_in_one_text() -> None:
    # S3.2
    assert planned(f"{MINE}---\n{JOB}").framework.id == "mine"
    assert problems_of(f"{MINE}---\n{JOB}", find) == ()


def test_variable_that_comes_to_nothing_is_left_out() -> None:
    text = (
        JOB + "env: {A: '${None}', B: ''}\nroles: {client: {argv: [x, '${None if role.count else 1}', y]}}\n"
    )
    plan = planned(text, framework(MINE))
    assert "A" not in said(plan, "client")
    assert said(plan, "client")["B"] == ""
    assert launched(plan, "client").processes[0].argv == ("x", "y")


def test_yaml_words_of_old_are_texts() -> None:
    plan = planned(JOB + "env: {A: on, B: no, C: 010, D: 1_000, E: 1:30, F: true}\n", framework(MINE))
    env = said(plan, "server")
    assert [env[name] for name in "ABCDEF"] == ["on", "no", "10", "1_000", "1:30", "true"]


def test_everything_wrong_with_a_definition_is_told_at_once_with_line_and_column() -> None:
    text = """\
kind: Framework
id: Not An Id
roles:
  server:
    count: {default: 9, max: 3}
    functions:
      create: {env: {A: "${roles.sever[0].host}", B: "${self.port.web}", "1": x}}
      restart: {when: [exits], scope: everything}
      depend: [{role: nobody, until: soon}]
      status: {succeeded: most}
    extra: 1
job_status: {succeeded: "all(server, clients)"}
ranks: [clients]
"""
    found = refused_framework(text)
    assert sorted(places_of(found), key=lambda place: place[1:]) == places_of(found)
    assert set(places_of(found)) == {
        ("id", 2, 5),
        ("roles.server.count.default", 5, 22),
        ("roles.server.functions.create.env.1", 7, 79),
        ("roles.server.functions.depend[0].until", 9, 38),
        ("roles.server.functions.restart.when", 8, 23),
        ("roles.server.functions.restart.scope", 8, 39),
        ("roles.server.functions.status.succeeded", 10, 27),
        ("roles.server.extra", 11, 5),
        ("ranks", 13, 8),
        ("job_status.succeeded", 12, 25),
        ("roles.server.functions.create.env.A", 7, 25),
        ("roles.server.functions.create.env.B", 7, 54),
        ("roles.server.functions.depend[0].role", 9, 23),
    }
    assert {problem.reason for problem in found} >= {
        Reason.UNKNOWN_ROLE,
        Reason.UNKNOWN_PORT,
        Reason.BAD_NAME,
    }
    assert all(problem.kind is Kind.FRAMEWORK for problem in found)


def test_everything_wrong_with_a_job_is_told_at_once_with_line_and_column() -> None:
    text = """\
kind: Job
framework: mine
priority: 5000
params: {n: 12, mode: quick, m: 1}
gang: {min: {nobody: 1}, wait: soon}
roles:
  client:
    count: 9
    argv: [run, "${roles.serve.count}"]
    resources: {cpu: many, memory: 1Qi}
  clients: {count: 1}
success: {log: {role: clients}, metrics: [accuracy above 3]}
"""
    found = refused(text, framework(MINE))
    assert sorted(places_of(found), key=lambda place: place[1:]) == places_of(found)
    assert set(places_of(found)) == {
        ("roles.client.resources.cpu", 10, 22),
        ("roles.client.resources.memory", 10, 36),
        ("roles.clients", 11, 12),
        ("priority", 3, 11),
        ("params.n", 4, 13),
        ("params.mode", 4, 23),
        ("params.m", 4, 33),
        ("gang.min.nobody", 5, 22),
        ("gang.wait", 5, 32),
        ("success.log.role", 12, 23),
        ("success.log.regex", 12, 16),
        ("success.metrics[0].metric", 12, 43),
        ("roles.client.count", 8, 12),
        ("roles.client.argv[1]", 9, 17),
    }
    assert all(problem.kind is Kind.JOB for problem in found)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("roles: {client: {count: 0}}", Reason.OUT_OF_RANGE),
        ("roles: {server: {count: {min: 1, max: 2}}}", Reason.CONTRADICTION),
        ("roles: {client: {count: {min: 4, default: 3, max: 5}}}", Reason.CONTRADICTION),
        ("gang: {min: {client: 5}}", Reason.CONTRADICTION),
        ("gang: {min: some}", Reason.BAD_VALUE),
        ("roles: {client: {depend: [{role: server, quorum: 3}]}}", Reason.CONTRADICTION),
        ("roles: {client: {depend: [{role: server, until: succeeded}]}}", Reason.CONTRADICTION),
        ("roles: {client: {depend: [{role: server, until: http}]}}", Reason.MISSING_FIELD),
        ("roles: {client: {restart: {scope: [server]}}}", Reason.CONTRADICTION),
        ("roles: {client: {restart: {rules: [{exit: 300}]}}}", Reason.BAD_VALUE),
        ("roles: {client: {restart: {rules: [{signal: NOPE}]}}}", Reason.BAD_VALUE),
        ("roles: {client: {stop: {signal: KILL}}}", Reason.BAD_VALUE),
        ("job_status: {succeeded: nobody}", Reason.UNKNOWN_ROLE),
        ("params: {n: two}", Reason.WRONG_TYPE),
        ("checkpoints: {dir: c, keep_best: 2}", Reason.MISSING_FIELD),
        ("framework: mine", Reason.DUPLICATE_FIELD),
    ],
)  # fmt: skip
def test_contradiction_of_a_job_is_refused(line: str, reason: Reason) -> None:
    found = refused(JOB + line + "\n", framework(MINE))
    assert [problem.reason for problem in found] == [reason]
    assert found[0].path


def test_required_parameter_that_is_missing_is_named() -> None:
    text = "kind: Framework\nid: f\nparams: {data: {required: true, summary: Where is it?}}\nroles: {a: {}}\n"
    (problem,) = refused("{kind: Job, framework: f, argv: [x]}", framework(text))
    assert (problem.reason, problem.next_step) == (Reason.MISSING_PARAMETER, "Where is it?")


def test_unknown_framework_is_suggested() -> None:
    (problem,) = refused("{kind: Job, framework: pytorch-dpp, argv: [x]}")
    assert (problem.reason, problem.next_step) == (Reason.UNKNOWN_FRAMEWORK, "did you mean 'pytorch-ddp'?")


def test_role_without_a_command_is_refused() -> None:
    (problem,) = refused("{kind: Job, framework: plain}")
    assert (problem.reason, problem.path) == (Reason.NO_COMMAND, "roles.worker.argv")


def test_job_that_could_never_succeed_is_refused() -> None:
    text = "kind: Framework\nid: f\nroles: {a: {count: {default: 0}}, b: {}}\njob_status: {succeeded: a}\n"
    (problem,) = refused("{kind: Job, framework: f, argv: [x]}", framework(text))
    assert problem.reason is Reason.CONTRADICTION


def test_example_of_a_whole_job_is_read() -> None:
    # S3.1
    plan = planned("""
    kind: Job
    framework: pytorch-ddp
    name: digits
    queue: research
    priority: 5
    labels: {team: vision}
    params: {nproc: 2}
    argv: [python, train.py, "--epochs=3"]
    resources: {cpu: 2, memory: 1Gi, gpu: 0.5}
    placement: {pool: gpu, labels: {zone: a}, policy: spread, distinct_nodes: true}
    environment: {requirements: ["torch==2.13.0", numpy]}
    gang: {min: all, wait: 60s}
    limits: {active_deadline: 1h, ttl: 2d}
    roles:
      worker:
        count: 3
        restart: {max: 1, rules: [{exit: [3, "128-255"], do: fail}, {log: "CUDA error", avoid_node: true}]}
    success: {artifacts: [model.pt], log: {role: master, regex: "epoch 3"}, metrics: ["accuracy >= 0.9"]}
    hang: {silent: 10m, and_cpu_below: 2}
    checkpoints: {dir: ckpt, keep_last: 2, keep_best: 1, metric: loss}
    progress: {log: "epoch (?P<epoch>[0-9]+) loss=(?P<loss>[0-9.]+)"}
    """)
    job, worker = plan.job, plan.role("worker")
    assert worker is not None
    assert (job.queue, job.priority, job.labels, job.requirements) == (
        "research", 5, (("team", "vision"),), "torch==2.13.0\nnumpy",
    )  # fmt: skip
    assert (worker.resources.cpu, worker.resources.memory_bytes, worker.resources.gpu) == (2, 1 << 30, 0.5)
    assert (worker.placement.pool, worker.placement.policy, worker.placement.distinct_nodes) == (
        "gpu",
        "spread",
        True,
    )
    assert (job.gang.wait_s, job.deadline_s, job.ttl_s, worker.gang_least) == (60, 3600, 172_800, 3)
    assert (job.hang.silent_s, job.hang.cpu_below) == (600, 0.02)
    assert [rule.exit_codes for rule in worker.role.restarts.rules] == [((3, 3), (128, 255)), ()]
    progress = worker.role.progress("epoch 2 loss=0.25")
    assert progress is not None
    assert (progress.epoch, dict(progress.metrics)) == (2.0, {"loss": 0.25})
    assert job.evidence.metrics[0].detail == "accuracy >= 0.9"
