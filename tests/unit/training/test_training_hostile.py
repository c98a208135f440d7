"""Definitions and job files that were written to hurt: each is refused with a reason, none takes long."""

from __future__ import annotations

from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.documents import section
from modelyard.documents.problems import PROBLEMS_MOST
from modelyard.training import Reason, Refused, compile_framework, problems_of
from modelyard.training.frameworks.catalogue import find
from tests.support.training import planned, refused, refused_framework

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(12)
)
MERGED_LAUGHS = "a: &a {k: v}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [{', '.join([f'*{chr(97 + i)}'] * 10)}], k{i}: *{chr(97 + i)}}}\n"
    for i in range(12)
)

UNREADABLE = {
    "laughs": (LAUGHS, Reason.TOO_LARGE),
    "merged-laughs": (MERGED_LAUGHS, Reason.TOO_LARGE),
    "contains-itself": ("a: &a [*a]", Reason.MALFORMED),
    "no-anchor": ("a: *nobody", Reason.MALFORMED),
    "deep-flow": ("[" * 500_000, Reason.TOO_DEEP),
    "deep-lists": ("- " * 200_000, Reason.TOO_DEEP),
    "ten-megabytes": ("a: " + "x" * 10_000_000, Reason.TOO_LARGE),
    "many-fields": ("".join(f"k{i}: 1\n" for i in range(60_000)), Reason.TOO_LARGE),
    "many-documents": ("---\na: 1\n" * 100, Reason.TOO_LARGE),
    "control-characters": ("\x00\x01", Reason.MALFORMED),
    "unclosed": ("a: [1, 2", Reason.MALFORMED),
    "list-as-name": ("? [1]\n: 2", Reason.MALFORMED),
    "merged-text": ("<<: text", Reason.MALFORMED),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_text_that_cannot_be_read_is_refused_with_one_reason(name: str) -> None:
    text, reason = UNREADABLE[name]
    (problem,) = refused_framework(text)
    assert problem.reason is reason
    assert problem.message


def test_job_file_of_strange_bytes_is_refused() -> None:
    (problem,) = problems_of(b"\xff\xfe\x00", find)
    assert problem.reason is Reason.MALFORMED


def test_python_tags_are_plain_data() -> None:
    (problem,) = problems_of("!!python/object/apply:os.system ['true']", find)[:1]
    assert problem.reason is Reason.MALFORMED


@pytest.mark.parametrize("count", ["1000000", "-1", "99999999999999999999", "1e9", "all"])
def test_count_that_no_job_may_have_is_refused(count: str) -> None:
    # S3.4
    problems = refused(f"{{kind: Job, framework: plain, argv: [x], roles: {{worker: {{count: {count}}}}}}}")
    assert {problem.reason for problem in problems} <= {Reason.OUT_OF_RANGE, Reason.WRONG_TYPE}
    assert problems[0].path == "roles.worker.count"


def test_roles_that_together_have_too_many_instances_are_refused() -> None:
    problems = refused(
        "{kind: Job, framework: pytorch-ps, argv: [x], roles: {worker: {count: 9000}, ps: {count: 9000}}}"
    )
    assert [problem.reason for problem in problems] == [Reason.TOO_LARGE]


ONE = """
kind: Framework
id: mine
params: {n: {type: int, default: 5}}
roles:
  a:
    service: {ports: {p: auto}}
    functions:
      create:
        argv: [x]
        env:
          A: %s
---
{kind: Job, framework: mine}
"""

EXPRESSIONS = [
    "${1**999999999}", "${[x for x in roles]}", '${"a"*1000000000}', '${__import__("os")}', "${self.__class__}",
    "${().__class__}", "${lambda: 1}", "${" + "(" * 300 + "1" + ")" * 300 + "}", "${" + "-" * 900 + "1}",
    "${" + "1+" * 450 + "1}", "${job.id.format(job)}", '${int("9"*10)}', "${join(roles.a.names, roles.a.names)}",
    "${self", "${}", "${1 if}", "${roles.b.count}", "${roles.a[99].host}", "${roles.a[-1].host}", "${params.m}",
    "${params.n.real}", "${proc.rank}", "${1//0}", "${1 % 0}", "${1.5e308*1e10}", "${join(1)}", "${min()}",
    '${max("a", 1)}', '${sum("abc")}', '${f"{1}"}', "${x:=1}", "${await 1}", '${b"1"}', "${...}", "${1j}",
    "${len(5)}", '${int("x")}', "${json(self)}", "${self}", "${roles}", "${not self}", "${'a' < 1}", "${self[0]}",
    "${roles.a.names['x']}", "${len(x=1)}", "${~1}", "${1 << 99}", "${[1]}", "${ {1: 2} }", "${roles.a.addr.q}",
    "${" + "*".join(["9"] * 60) + "}", "${it.ip}", "${nobody}",
]  # fmt: skip


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expression_beyond_the_language_is_refused_at_its_place(expression: str) -> None:
    text = ONE % ("'" + expression.replace("'", "''") + "'")
    (problem, *_) = refused(text)
    assert problem.path == "roles.a.functions.create.env.A"
    assert problem.reason in (
        Reason.BAD_EXPRESSION, Reason.UNKNOWN_NAME, Reason.UNKNOWN_ROLE, Reason.UNKNOWN_PARAMETER, Reason.UNKNOWN_PORT,
    )  # fmt: skip


JOINS = ", ".join(f"E{i}: \"${{join(roles.a.addr.p, ',')}}\"" for i in range(900))
LISTS = ", ".join(['"${roles.a.addr.p}"'] * 5_000)
LINES = ", ".join(f'{{path: f{i}, each: a, line: "{"${it.index}" * 400}"}}' for i in range(50))
VARIABLES = ", ".join(f'E{i}: "{"${proc.local}" * 50}"' for i in range(900))
GREEDY = {
    "joins": f"env: {{{JOINS}}}",
    "tree": f"env_json: {{A: [{LISTS}]}}",
    "lines": f"files: [{LINES}]",
    "processes": f"procs: 1024, env: {{{VARIABLES}}}",
}
MANY = """
kind: Framework
id: mine
roles:
  a: {count: {default: 9000}, service: {ports: {p: auto}}, functions: {create: {argv: [x], CREATE}}}
---
{kind: Job, framework: mine}
"""


@pytest.mark.parametrize("name", GREEDY)
def test_instance_that_takes_too_much_to_make_is_refused(name: str) -> None:
    (problem, *_) = refused(MANY.replace("CREATE", GREEDY[name]))
    assert problem.reason is Reason.BAD_EXPRESSION
    assert "more than" in problem.message


PATHS = [
    "../x", "/etc/passwd", "a/../../b", "a//b", "./a", "..", "a\\\\b", "x/", "${'../' + job.name}",
    "${job.name}/../x", "a/${'..'}/b", "${''}", "x\\ny", "x" * 600,
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_file_that_would_climb_out_of_its_directory_is_refused(path: str) -> None:
    text = f"""
kind: Framework
id: mine
roles: {{a: {{functions: {{create: {{argv: [x], files: [{{path: "{path}", content: hi}}]}}}}}}}}
---
{{kind: Job, framework: mine}}
"""
    (problem, *_) = refused(text)
    assert problem.path == "roles.a.functions.create.files[0].path"


@pytest.mark.parametrize(
    "line",
    ["success: {artifacts: [../model.pt]}", "success: {artifacts: [/etc/*]}", "name: ../../x", "name: a/b"],
)
def test_job_that_names_what_lies_elsewhere_is_refused(line: str) -> None:
    (problem,) = refused(f"kind: Job\nframework: plain\nargv: [x]\n{line}\n")
    assert problem.reason in (Reason.BAD_PATH, Reason.BAD_NAME)
    assert problem.line == 4


@pytest.mark.parametrize("name", ["A", "a-b", "a b", "1a", "class", "x" * 41, "../a", "_a", "a__b", "é"])
def test_role_whose_name_cannot_stand_in_an_expression_is_refused(name: str) -> None:
    (problem, *_) = refused_framework(f"kind: Framework\nid: mine\nroles: {{'{name}': {{}}}}\n")
    assert problem.reason is Reason.BAD_NAME


@pytest.mark.parametrize(
    "pattern", [r"(\w+)\1", "(?=x)", "[", "((a{9999}){9999}){9999}", "x" * 400, "(?P<a>"]
)
def test_pattern_that_takes_more_than_linear_time_is_refused(pattern: str) -> None:
    text = f"kind: Job\nframework: plain\nargv: [x]\nprogress: {{log: ['{pattern}']}}\n"
    (problem,) = refused(text)
    assert problem.reason is Reason.BAD_PATTERN


def test_pattern_that_backtracks_elsewhere_is_matched_in_linear_time() -> None:
    plan = planned(r"{kind: Job, framework: plain, argv: [x], progress: {log: ['(?P<step>(a+)+)$']}}")
    assert plan.roles[0].role.progress("a" * 100_000 + "b") is None


CYCLE = """
kind: Framework
id: mine
roles:
  a: {functions: {create: {argv: [x]}, depend: [{role: b, until: %s}]}}
  b: {functions: {create: {argv: [x]}, depend: [{role: c, until: %s}]}}
  c: {functions: {create: {argv: [x]}, depend: [{role: a, until: %s}]}}
"""


@pytest.mark.parametrize("kinds", [("started",) * 3, ("succeeded", "ready", "started"), ("ready",) * 3])
def test_roles_that_wait_for_each_other_to_start_are_refused(kinds: tuple[str, str, str]) -> None:
    # S3.5
    (problem,) = refused_framework(CYCLE % kinds)
    assert problem.reason is Reason.CYCLE
    assert "a → b → c → a" in problem.message


@pytest.mark.parametrize("kinds", [("address",) * 3, ("started", "started", "address")])
def test_roles_that_want_each_others_addresses_are_no_cycle(kinds: tuple[str, str, str]) -> None:
    # S3.6: an address is there before anybody starts.
    assert compile_framework(CYCLE % kinds).role_names == ("a", "b", "c")


def test_role_that_waits_for_itself_is_refused() -> None:
    job = """
    kind: Job
    framework: plain
    argv: [x]
    roles: {worker: {depend: [{role: worker, until: started}]}}
    """
    assert [problem.reason for problem in refused(job)] == [Reason.CYCLE]


def test_more_problems_than_are_told_end_with_a_note() -> None:
    fields = "".join(f"f{i}: 1\n" for i in range(500))
    problems = refused(f"kind: Job\nframework: plain\nargv: [x]\n{fields}")
    assert len(problems) == 201
    assert problems[-1].reason is Reason.TOO_MANY_PROBLEMS


WORDS = st.sampled_from(
    [
        "kind: Job", "kind: Framework", "framework: plain", "id: x", "roles:", "  worker:", "    count: 2", "  a: {}",
        "argv: [x, y]", "argv: [", "&a", "*a", "<<: *a", "- x", "  - ${self.index}", "env: {A: '${roles.a[0].host}'}",
        "---", "''", "null", "    functions: {create: {argv: [1]}}", "gang: {min: all}", "job_status: {succeeded: a}",
        "success: {log: {regex: a}}", "params: {n: {}}", "restart: {max: -1}", "\t", "? x", ": y", "!!str 1", "#",
    ]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=12))
def test_any_text_is_refused_or_taken_never_worse(lines: list[str]) -> None:
    for problem in problems_of("\n".join(lines), find):
        assert problem.message


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="${}()[]'\"abc.self1+-*/%<>=,\\ \n_", max_size=60))
def test_any_expression_is_refused_or_evaluated_never_worse(text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    try:
        planned(dedent(ONE % quoted))
    except Refused as found:
        assert found.problems


def test_more_problems_than_are_told_cost_no_search_for_words_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine thousand unknown fields: for those that nobody is told of no near word is looked for."""
    asked: list[str] = []
    monkeypatch.setattr(section, "suggestion", lambda word, known: asked.append(word) or "")
    many = "".join(f"k{number}: x\n" for number in range(9_000))
    assert len(problems_of("kind: Job\nframework: plain\nargv: [x]\n" + many, find)) == PROBLEMS_MOST + 1
    assert len(asked) == PROBLEMS_MOST
