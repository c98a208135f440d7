"""Texts that say everything which can be said somewhere: reading them shows what the language asks for. Pure."""

_RESTART = "{when: [exit], uncounted: [], rules: [{do: fail, cause: [exit], scope: role}], scope: SCOPE, backoff: [1s]}"

_FRAMEWORK = """kind: Framework
id: whole
params: {a: {type: int, default: 1, choices: [1], min: 1, max: 1}}
ranks: [first]
roles:
  first:
    count: {default: 2, min: 1, max: 3, elastic: true}
    service: {ports: {a: auto, b: {from: 2000, to: 3000}, c: 2500}, forward: true}
    functions:
      create: {argv: [x], env: {A: b}, env_json: {A: {}}, files: [{path: a, json: {}}, {path: b, content: c}]}
      depend: []
      ready: {until: started}
      restart: RESTART
      status: {}
      progress: {log: a, file: b}
      stop: {}
      clean: {keep: [a]}
  second:
    count: 1
    functions: {depend: [{role: first, until: address}], restart: {scope: job}}
job_status: {succeeded: all, failed: any}
"""
FRAMEWORK = _FRAMEWORK.replace("RESTART", _RESTART.replace("SCOPE", "[first]"))

_JOB = """kind: Job
framework: whole
params: {a: 1}
labels: {a: b}
env: {A: b}
argv: [x]
files: [{path: d, content: e}]
resources: {custom: {a: 1}}
placement: {labels: {a: b}}
environment: {requirements: [a]}
gang: {min: GANG}
limits: {active_deadline: 1s, ttl: 1s}
roles:
  second: {count: 1, argv: [x], environment: {image: a}}
  first:
    count: COUNT
    argv: [x]
    env: {A: b}
    stdin: a
    files: [{path: f, content: b}, {path: c, json: {}}]
    imports: [a]
    forward: true
    resources: {custom: {a: 1}}
    placement: {labels: {a: b}}
    depend: [{role: second}]
    ready: {until: started}
    restart: RESTART
    status: {}
    stop: {}
    clean: {keep: [a]}
job_status: {succeeded: all, failed: any}
success: {artifacts: [a], log: LOG, metrics: ["a > 1"]}
hang: {}
checkpoints: {dir: a}
progress: {log: a, file: b}
"""


def _job(gang: str, count: str, log: str, scope: str) -> str:
    said = {"GANG": gang, "COUNT": count, "LOG": log, "RESTART": _RESTART.replace("SCOPE", scope)}
    text = _JOB
    for word, value in said.items():
        text = text.replace(word, value)
    return f"{FRAMEWORK}---\n{text}"


JOBS = (
    _job("all", "2", "{regex: a}", "role"),
    _job("{first: 1}", "{min: 1, default: 2, max: 3}", "[{regex: a}]", "[first]"),
)
"""A number and a mapping, one and several."""

_SWEEP = """kind: Sweep
name: a
space: {a: [1, 2], b: {uniform: [0, 1], points: 3}, c: {log_uniform: [0.1, 1], points: 3},
  d: {int: [1, 5], step: 2}, e: {log_int: [1, 5]}, f: {choice: [a]}, g: {uniform: [0, 1], step: 0.5}}
metric: METRIC
search: SEARCH
parallel: 2
target: 0.1
max_failures: 3
job:
  framework: plain
  argv: ["${sweep.a}", "${sweep.b}", "${sweep.c}", "${sweep.d}", "${sweep.e}", "${sweep.f}", "${sweep.g}"]
"""


def _sweep(metric: str, search: str) -> str:
    return _SWEEP.replace("METRIC", metric).replace("SEARCH", search)


SWEEPS = (
    _sweep("loss", "{random: {trials: 3, seed: 1}}"),
    _sweep(
        "{name: loss, mode: min, role: worker, pick: best}",
        "{asha: {trials: 3, seed: 1, max: 81, by: epoch, reduction: 3, grace: 1, brackets: 1}}",
    ),
    _sweep("loss", "grid").replace(", e: {log_int: [1, 5]}", "").replace("  d: {", "  e: [1], d: {"),
)
"""A way to search each."""
