"""Sweep files: what they come to, and everything that can be wrong with them, by path and line (S3)."""

from __future__ import annotations

import pytest

from modelyard.training import Changes, Plan, Reason, Refused, plan_job, problems_of
from modelyard.training.frameworks import catalogue
from modelyard.training.sweeps import Sweep, SweepChanges, plan_sweep, read_sweep

FILE = """kind: Sweep
name: rates
space:
  lr: {log_uniform: [1e-4, 1e-1]}
  batch: [16, 32]
search: {random: {trials: 8, seed: 1}}
metric: {name: loss, mode: min}
parallel: 2
job:
  framework: plain
  argv: [python, train.py, "--lr=${sweep.lr}", --batch, "${sweep.batch}"]
"""
GRID = FILE.replace("{log_uniform: [1e-4, 1e-1]}", "[0.1, 0.01]").replace(
    "{random: {trials: 8, seed: 1}}", "grid"
)


def swept(text: str, **changes: object) -> tuple[Sweep, Plan]:
    return plan_sweep(text, catalogue.find, catalogue.known(), SweepChanges(**changes))  # type: ignore[arg-type]


def argv(text: str) -> list[str]:
    plan = plan_job(text, catalogue.find)
    return [part.source for part in plan.roles[0].role.creation.argv]


def told(text: str) -> list[tuple[Reason, str, int]]:
    return [(one.reason, one.path, one.line) for one in problems_of(text, catalogue.find, catalogue.known())]


def test_sweep_of_a_file_has_its_space_its_search_and_its_metric() -> None:
    sweep, plan = swept(FILE)
    assert (sweep.name, sweep.parallel, sweep.search.trials, sweep.search.seed) == ("rates", 2, 8, 1)
    assert [str(one) for one in sweep.space] == ["log_uniform 0.0001 … 0.1", "choice of 16, 32"]
    assert sweep.metric is not None and not sweep.metric.is_max
    assert plan.framework.id == "plain"
    assert read_sweep(FILE).values(3, 1) == sweep.values(3, 1)


def test_grid_tries_every_combination_once_and_the_last_parameter_changes_first() -> None:
    sweep, _ = swept(GRID)
    found = [sweep.values(number, 0) for number in range(1, sweep.search.trials + 1)]
    assert found == [{"lr": lr, "batch": batch} for lr in (0.1, 0.01) for batch in (16, 32)]


def test_random_values_follow_from_the_seed_alone_and_stay_in_their_bounds() -> None:
    sweep, _ = swept(FILE)
    found = [sweep.values(number, 7) for number in range(1, 500)]
    assert found == [sweep.values(number, 7) for number in range(1, 500)]
    assert found != [sweep.values(number, 8) for number in range(1, 500)]
    rates = [float(one["lr"]) for one in found]
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    below = sum(rate < 10**-2.5 for rate in rates)
    assert 200 < below < 300, "half of them are below the middle of the logarithms"
    assert {one["batch"] for one in found} == {16, 32}


def test_random_search_of_what_can_be_counted_tries_nothing_twice() -> None:
    text = FILE.replace("{log_uniform: [1e-4, 1e-1]}", "{uniform: [0, 1], step: 0.25}").replace("8", "10")
    sweep, _ = swept(text)
    found = [tuple(sweep.values(number, 3).values()) for number in range(1, 11)]
    assert len(set(found)) == 10
    assert {lr for lr, _ in found} == {0.0, 0.25, 0.5, 0.75, 1.0}


@pytest.mark.parametrize(
    ("space", "values"),
    [
        ("{int: [1, 7], step: 3}", [1, 4, 7]),
        ("{uniform: [0, 0.3], step: 0.1}", [0.0, 0.1, 0.2, 0.3]),
        ("{uniform: [0, 1], points: 3}", [0.0, 0.5, 1.0]),
        ("{log_uniform: [1e-3, 10], points: 5}", [0.001, 0.01, 0.1, 1.0, 10.0]),
        ("{choice: [a, true, 3, 0.5]}", ["a", True, 3, 0.5]),
        ("[1, 2]", [1, 2]),
    ],
)
def test_values_that_can_be_counted_are_these(space: str, values: list[object]) -> None:
    sweep, _ = swept(GRID.replace("[0.1, 0.01]", space))
    found = list(dict.fromkeys(repr(sweep.values(n, 0)["lr"]) for n in range(1, sweep.search.trials + 1)))
    assert found == [repr(value) for value in values]


@pytest.mark.parametrize("space", ["{int: [-5, 900]}", "{log_int: [1, 4096]}", "{uniform: [-1, 1]}"])
def test_drawn_values_have_their_type_and_their_bounds(space: str) -> None:
    sweep, _ = swept(FILE.replace("{log_uniform: [1e-4, 1e-1]}", space))
    (parameter, _) = sweep.space
    found = [sweep.values(number, 5)["lr"] for number in range(1, 300)]
    assert {type(value) for value in found} == {float if "uniform" in space else int}
    assert all(parameter.low <= value <= parameter.high for value in found)  # type: ignore[operator]
    assert len(set(found)) > 100


def test_trial_is_an_ordinary_job_file_with_the_values_in_it() -> None:
    sweep, _ = swept(FILE)
    document = sweep.document(3, {"lr": 1e-05, "batch": 32}, {"sweep": "s-1", "trial": "3"})
    plan = plan_job(document, catalogue.find)
    assert (plan.job.name, dict(plan.job.labels)) == ("rates-3", {"sweep": "s-1", "trial": "3"})
    assert argv(document) == ["python", "train.py", "--lr=1e-05", "--batch", "32"]


def test_values_stand_in_any_field_of_a_job_with_their_type() -> None:
    text = """kind: Sweep
space: {count: {int: [1, 3]}, nproc: [1, 2], memory: [1Gi, 2Gi], eager: [true, false]}
search: grid
---
kind: Job
framework: torchrun
params: {nproc: "${sweep.nproc}"}
resources: {memory: "${sweep.memory}"}
env: {EAGER: "${sweep.eager}", HALF: "${sweep.count * 2}", MIXED: "${sweep.count + self.index}/$${x}"}
roles: {node: {argv: [train.py], count: "${sweep.count}"}}
"""
    sweep, _ = swept(text)
    assert sweep.search.trials == 24
    plan = plan_job(
        sweep.document(1, {"count": 3, "nproc": 2, "memory": "2Gi", "eager": True}, {}), catalogue.find
    )
    node = plan.role("node")
    assert node is not None
    assert (node.count, plan.params["nproc"], node.resources.memory_bytes) == (3, 2, 2 << 30)
    env = {name: value.source for name, value in node.role.creation.env}
    assert (env["EAGER"], env["HALF"], env["MIXED"]) == ("true", "6", "${3 + self.index}/$${x}")


@pytest.mark.parametrize("value", ["on", "1e3", "007", "~", "", "a: b", "${job.id}", "x\n- y", "ü", "'", "#"])
def test_texts_come_through_as_they_are(value: str) -> None:
    sweep, _ = swept(FILE)
    document = sweep.document(1, {"lr": value, "batch": value}, {})
    plan = plan_job(document, catalogue.find)
    creation = plan.roles[0].role.creation
    assert [part.text({}) for part in creation.argv[2:]] == [f"--lr={value}", "--batch", value]


def test_own_framework_of_a_sweep_file_comes_with_every_trial() -> None:
    own = "kind: Framework\nid: own\nroles: {worker: {functions: {create: {argv: [work]}}}}\n---\n"
    sweep, plan = swept(own + FILE.replace("plain", "own"))
    assert plan.framework.id == "own"
    assert (
        plan_job(sweep.document(1, sweep.values(1, 0), {}), lambda name, version: None).framework.id == "own"
    )


@pytest.mark.parametrize(
    ("text", "reason", "path", "line"),
    [
        (FILE.replace("${sweep.lr}", "${sweep.rl}"), Reason.UNKNOWN_PARAMETER, "job.argv[2]", 11),
        (FILE.replace("${sweep.lr}", "${sweep}"), Reason.UNKNOWN_NAME, "job.argv[2]", 11),
        (FILE.replace("--lr=${sweep.lr}", "x"), Reason.CONTRADICTION, "space.lr", 4),
        (FILE.replace("[1e-4, 1e-1]", "[1e-1, 1e-4]"), Reason.OUT_OF_RANGE, "space.lr.log_uniform", 4),
        (FILE.replace("[1e-4, 1e-1]", "[0, 1]"), Reason.OUT_OF_RANGE, "space.lr.log_uniform", 4),
        (FILE.replace("log_uniform", "gauss"), Reason.BAD_VALUE, "space.lr", 4),
        (FILE.replace("[16, 32]", "[16, 16]"), Reason.CONTRADICTION, "space.batch[1]", 5),
        (FILE.replace("trials: 8", "trials: 0"), Reason.OUT_OF_RANGE, "search.random.trials", 6),
        (FILE.replace("trials: 8, ", ""), Reason.MISSING_FIELD, "search.random.trials", 6),
        (FILE.replace("random:", "bayes:"), Reason.MISSING_FIELD, "search", 6),
        (FILE.replace("{random: {trials: 8, seed: 1}}", "grid"), Reason.CONTRADICTION, "search", 6),
        (FILE.replace("mode: min", "mode: best"), Reason.BAD_VALUE, "metric.mode", 7),
        (FILE.replace("min}", "min, role: ps}"), Reason.UNKNOWN_ROLE, "metric.role", 7),
        (FILE.replace("parallel: 2", "parallel: 0"), Reason.OUT_OF_RANGE, "parallel", 8),
        (FILE.replace("parallel", "paralel"), Reason.UNKNOWN_FIELD, "paralel", 8),
        (FILE.replace("framework: plain", "framework: plan"), Reason.UNKNOWN_FRAMEWORK, "job.framework", 10),
        (FILE + "  suspend: true\n", Reason.CONTRADICTION, "job.suspend", 12),
        (FILE.replace("job:", "jobs:"), Reason.MALFORMED, "job", 1),
        (FILE + "---\nkind: Task\n", Reason.MALFORMED, "kind", 13),
        (FILE + "---\n" + FILE, Reason.MALFORMED, "", 0),
        (FILE.replace("name: rates", "name: Rates!"), Reason.BAD_NAME, "name", 2),
    ],
)
def test_what_is_wrong_is_told_with_its_path_and_its_line(
    text: str, reason: Reason, path: str, line: int
) -> None:
    assert (reason, path, line) in told(text)
    with pytest.raises(Refused):
        swept(text)


def test_value_with_which_no_job_can_be_made_is_found_before_anything_runs() -> None:
    text = FILE.replace("argv:", 'roles: {worker: {count: "${sweep.batch}"}}\n  argv:').replace("32]", "0]")
    [problem] = problems_of(text, catalogue.find, catalogue.known())
    assert (problem.path, problem.line) == ("job.roles.worker.count", 11)
    assert "batch=0" in problem.message


def test_grid_of_millions_is_refused_with_its_number() -> None:
    wide = ", ".join(map(str, range(1_000)))
    text = GRID.replace("[0.1, 0.01]", f"[{wide}]").replace("[16, 32]", "{int: [1, 1000000000]}")
    [problem] = problems_of(text, catalogue.find, catalogue.known())
    assert problem.reason is Reason.TOO_LARGE
    assert "1000 × 1000000000 = 1000000000000 combinations; at most 10000" in problem.message


@pytest.mark.parametrize(
    ("asha", "path"),
    [
        ("trials: 9", "search.asha.max"),
        ("trials: 9, max: 1", "search.asha.grace"),
        ("trials: 9, max: 27, brackets: 5", "search.asha.brackets"),
        ("trials: 9, max: 27, reduction: 1", "search.asha.reduction"),
        ("trials: 9, max: 27, by: hour", "search.asha.by"),
    ],
)
def test_halving_that_compares_nobody_is_refused(asha: str, path: str) -> None:
    text = FILE.replace("{random: {trials: 8, seed: 1}}", f"{{asha: {{{asha}}}}}")
    assert path in [where for _, where, _ in told(text)]


def test_comparing_without_a_metric_is_refused() -> None:
    text = FILE.replace("metric: {name: loss, mode: min}\n", "target: 1\n")
    text = text.replace("{random: {trials: 8, seed: 1}}", "{asha: {trials: 8, max: 9}}")
    assert {(Reason.MISSING_FIELD, "target", 7), (Reason.MISSING_FIELD, "search", 6)} <= set(told(text))


def test_trials_beyond_all_combinations_are_refused() -> None:
    text = GRID.replace("search: grid", "search: {random: {trials: 5}}")
    assert (Reason.OUT_OF_RANGE, "search.random.trials", 6) in told(text)


@pytest.mark.parametrize(
    "text",
    [
        "kind: Sweep",
        "kind: Sweep\njob: 1\nspace: 1\nsearch: 1",
        "kind: Sweep\nspace: {lr: {int: [1, 1e300]}}\njob: {}",
        FILE.replace("[1e-4, 1e-1]", "[1e-4, .inf]"),
        FILE.replace("1e-1", "1e999"),
        FILE.replace("lr:", "class:"),
        FILE.replace("[16, 32]", "[[1], {}, ~]"),
        FILE.replace("[16, 32]", "{choice: 3}"),
        FILE.replace("[16, 32]", "{choice: [1], int: [1, 2]}"),
        FILE.replace("[16, 32]", "{uniform: [0, 1e15], step: 1e-300}"),
        FILE.replace("argv:", "x-a: &a [1, 2]\n  x-b: *a\n  argv:"),
        FILE.replace("job:\n", "job: &j\n  x-me: *j\n"),
        GRID.replace("[16, 32]", "{int: [0, 1], step: -1}"),
        FILE.replace("${sweep.lr}", "${" + "sweep.lr+" * 150 + "1}"),
        FILE.replace("${sweep.lr}", "${sweep.lr.real}"),
        FILE.replace("${sweep.lr}", "${sweep['lr']}"),
        FILE.replace("${sweep.lr}", "${sweep.lr // 0}"),
        FILE.replace("${sweep.lr}", "${sweep.lr * 9999999999999999999}"),
        FILE.replace("${sweep.lr}", "${sweep.lr"),
    ],
)
def test_hostile_sweep_is_told_in_words(text: str) -> None:
    for problem in problems_of(text, catalogue.find, catalogue.known()):
        assert problem.message
        assert len(str(problem)) < 2_000


def test_job_that_is_too_large_to_be_written_for_every_trial_is_refused() -> None:
    files = ", ".join(f'{{path: "f{number}", content: x}}' for number in range(99))
    text = FILE + "  files: [" + files + "]\n  x-a: &a [" + ", ".join(["1"] * 3_900) + "]\n"
    assert Reason.TOO_LARGE in [reason for reason, _, _ in told(text)]


def test_names_of_trials_stay_short() -> None:
    sweep, _ = swept(FILE.replace("rates", "r" * 63))
    plan = plan_job(sweep.document(10_000, sweep.values(1, 0), {}), catalogue.find)
    assert plan.job.name == "r" * 57 + "-10000"


def test_what_is_laid_over_a_file_takes_the_place_of_what_it_says() -> None:
    sweep, _ = swept(FILE, name="other", queue="fast", parallel=5)
    assert (sweep.name, sweep.parallel) == ("other", 5)
    job = "kind: Job\nname: a\nqueue: q\npriority: 3\nframework: plain\nargv: [x]\n"
    plan = plan_job(job, catalogue.find, (), Changes(name="b", queue="z", priority=-1))
    assert (plan.job.name, plan.job.queue, plan.job.priority) == ("b", "z", -1)
    trial = plan_job(sweep.document(1, sweep.values(1, 0), {}), catalogue.find)
    assert (trial.job.name, trial.job.queue) == ("other-1", "fast")
