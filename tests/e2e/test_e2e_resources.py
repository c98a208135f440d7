"""What tasks may use, how they end, what they leave, and which node they go to. Promise 7; S0.1–S0.6."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from modelyard.client.aio import Client
from modelyard.client.outcomes import TaskFailed
from modelyard.client.specs import Options
from modelyard.v1 import task_pb2
from tests.support.wait import wait_until, wait_until_sync
from tests.support.yard import Yard

SMALL: Options = {"cpu": 0.1}
HOG = "import time; held = bytearray(200 << 20); held[::4096] = b'x' * len(held[::4096]); time.sleep(30)"


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


async def failure(client: Client, argv: list[str], options: Options) -> task_pb2.Task:
    """The task that a command ended as; it must not succeed."""
    task = await client.run(argv, options=options, check=False)
    assert task.state != task_pb2.TASK_STATE_SUCCEEDED
    return task


async def is_clean(yard: Yard) -> None:
    await wait_until(
        lambda: not yard.task_leavings(), "nothing of the tasks is left", state=yard.task_leavings
    )


@pytest.mark.asyncio
async def test_memory_hog_is_killed_and_the_usage_says_how(yard: Yard) -> None:
    async with yard.client() as client:
        task = await failure(client, ["python3", "-c", HOG], {**SMALL, "memory": "64Mi"})
        node = await client.nodes.get(task.node)
    assert task.usage.enforcement == node.enforcement
    if node.enforcement == "cgroup":
        assert task.error.cause == task_pb2.TASK_CAUSE_OUT_OF_MEMORY
        assert "memory" in task.error.next_step
        assert 0 < task.usage.memory_peak_bytes <= 80 << 20
    else:
        assert task.error.cause in (task_pb2.TASK_CAUSE_EXIT, task_pb2.TASK_CAUSE_OUT_OF_MEMORY)
    result = yard.cli("run", "--cpu", "0.1", "--memory", "64Mi", "--", "python3", "-c", HOG)
    assert result.code != 0
    await is_clean(yard)


@pytest.mark.asyncio
async def test_cpu_limit_is_enforced(yard: Yard) -> None:
    """A second of work at a quarter of a core takes the time of a quarter of a core."""
    script = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    async with yard.client() as client:
        task = await client.run(["python3", "-c", script], options={"cpu": 0.25})
    took_s = task.end_time.ToMilliseconds() - task.start_time.ToMilliseconds()
    assert task.usage.cpu_time_s >= 0.3
    if task.usage.enforcement == "cgroup":
        assert took_s / 1000 >= 0.9


@pytest.mark.asyncio
async def test_timeouts_of_queue_and_run_end_a_task_with_their_name(yard: Yard) -> None:
    async with yard.client() as client:
        ran = await failure(client, ["sleep", "60"], {**SMALL, "timeout": 0.5})
        async with running(client, {"cpu": 4, "node": "node-1"}):
            waited = await failure(client, ["true"], {"cpu": 1, "node": "node-1", "queue_timeout": 0.5})
    assert (ran.error.cause, waited.error.cause) == (task_pb2.TASK_CAUSE_TIMEOUT,) * 2
    assert "run_timeout" in ran.error.message
    assert "queue" in waited.error.message
    assert (ran.attempt, waited.attempt) == (1, 0)
    assert ran.error.next_step
    await is_clean(yard)


@pytest.mark.asyncio
async def test_start_timeout_ends_what_its_node_cannot_begin(yard: Yard, tmp_path: Path) -> None:
    """The environment takes longer than the task may wait for it."""
    slow = f"slow @ file://{tmp_path}/slow"
    package = tmp_path / "slow"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        '[project]\nname = "slow"\nversion = "1"\n[build-system]\nrequires = []\n'
        'build-backend = "backend"\nbackend-path = ["."]\n'
    )
    (package / "backend.py").write_text("import time\ntime.sleep(5)\n")
    async with yard.client() as client:
        task = await failure(client, ["true"], {**SMALL, "requirements": slow, "start_timeout": 1.0})
    assert task.error.cause == task_pb2.TASK_CAUSE_TIMEOUT
    assert "start_timeout" in task.error.message


@pytest.mark.asyncio
async def test_cancel_ends_the_whole_group_and_kills_what_ignores_it_after_the_grace(
    yard: Yard, tmp_path: Path
) -> None:
    """The leader goes at once, a child uses the grace to put its things away, a grandchild ignores it all."""
    pids, saved = tmp_path / "pids", tmp_path / "saved"
    stubborn = tmp_path / "stubborn.sh"
    stubborn.write_text(f"trap '' TERM; echo $$ >> {pids}; while :; do sleep 0.05; done\n")
    tidy = tmp_path / "tidy.sh"
    tidy.write_text(
        f"trap 'sleep 0.2; echo saved > {saved}; exit 0' TERM; sh {stubborn} & echo $$ >> {pids}\n"
        "while :; do sleep 0.05; done\n"
    )
    async with yard.client() as client:
        argv = shell(f"sh {tidy} & echo $$ >> {pids}; while :; do sleep 0.05; done")
        spec = task_pb2.TaskSpec(command=task_pb2.CommandWork(argv=argv))
        spec.resources.cpu = 0.5
        [task_id] = await client.tasks.submit(spec)
        await wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 3, "all three run")
        await client.tasks.cancel(task_id, grace_s=1.5)
        task = await client.tasks.wait(task_id, 20)
    assert task.state == task_pb2.TASK_STATE_CANCELLED
    assert saved.read_text() == "saved\n"
    assert not [pid for pid in pids.read_text().split() if Path(f"/proc/{pid}").exists()]
    await is_clean(yard)


@pytest.mark.asyncio
async def test_retries_follow_the_cause(yard: Yard, tmp_path: Path) -> None:
    """Attempts are visible: each with its node, its reason and its own log."""
    marks = tmp_path / "marks"
    third = f"echo x >> {marks}; echo attempt $YARD_ATTEMPT; [ $(wc -l < {marks}) -eq 3 ]"
    async with yard.client() as client:
        options: Options = {**SMALL, "retries": 4, "retry_backoff": 0.05, "retry_on": ["exit"]}
        task = await client.run(shell(third), options=options)
        other: Options = {**SMALL, "retries": 4, "retry_backoff": 0.05, "retry_on": ["timeout"]}
        once = await failure(client, shell("exit 3"), other)
        logs = [chunk.data async for chunk in client.tasks.logs(task.id, attempt=2, follow=True)]
    assert (task.attempt, once.attempt, once.error.exit_code) == (3, 1, 3)
    assert {change.attempt for change in task.history} >= {1, 2, 3}
    assert b"".join(logs) == b"attempt 2\n"
    reasons = [change.detail.reason for change in task.history if change.state == task_pb2.TASK_STATE_QUEUED]
    assert reasons.count("EXIT") == 2
    assert task.id in yard.cli("tasks", "get", task.id).stdout


@pytest.mark.asyncio
async def test_requirements_become_one_environment_for_all_who_ask(yard: Yard, tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("iniconfig==2.1.0\n")
    script = "import iniconfig, sys; print(iniconfig.__file__)"
    words = ("run", "--node", "node-1", "--cpu", "0.1", "--requirements", str(requirements), "--", "python")
    results = await asyncio.gather(
        *(asyncio.to_thread(yard.cli, *words, "-c", script) for _ in range(2)),
    )
    assert [result.code for result in results] == [0, 0], results
    assert len({result.stdout for result in results}) == 1
    assert str(yard.state / "agents" / "node-1" / "environments") in results[0].stdout
    built = [path for path in (yard.state / "agents" / "node-1" / "environments").iterdir() if path.is_dir()]
    assert len([path for path in built if not path.name.startswith(".")]) == 1


@pytest.mark.asyncio
async def test_directory_with_a_services_folder_of_its_own_runs(yard: Yard, tmp_path: Path) -> None:
    """User code imports its own `services`, never the suite's; kept files come back whole."""
    code = tmp_path / "project"
    (code / "services").mkdir(parents=True)
    (code / "services" / "__init__.py").write_text("MINE = 'mine'\n")
    (code / "tool.py").write_text(
        "import services\n\ndef whose(suffix: str = '') -> str:\n    return services.MINE + suffix\n"
    )
    (code / "main.py").write_text(
        "import pathlib, services, tool\npathlib.Path('out').mkdir()\n"
        "pathlib.Path('out/a.txt').write_text(tool.whose('!'))\npathlib.Path('out/b.bin').write_bytes(bytes(300_000))\n"
    )
    words = (
        "run",
        "--dir",
        str(code),
        "--cpu",
        "0.1",
        "--keep",
        "out/*",
        "--download",
        str(tmp_path / "got"),
    )
    result = yard.cli(*words, "--", "python3", "main.py")
    assert result.code == 0, result.stderr
    assert (tmp_path / "got" / "out" / "a.txt").read_text() == "mine!"
    assert (tmp_path / "got" / "out" / "b.bin").read_bytes() == bytes(300_000)
    async with yard.client() as client:
        digest = await client.artifacts.bundle(code)
        for node in yard.nodes:
            options: Options = {**SMALL, "bundle_digest": digest, "node": node}
            assert await client.call("tool:whose", suffix="?", options=options) == "mine?"


@pytest.mark.asyncio
async def test_array_runs_every_element_once(yard: Yard, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    async with yard.client() as client:
        options: Options = {**SMALL, "array_size": 30, "name": "many"}
        task = await client.run(shell(f"echo $YARD_ARRAY_INDEX >> {seen}"), options=options)
        elements = await client.tasks.list(task_pb2.TaskFilter(array_task_id=task.id), page_size=100)
    assert (task.array.size, task.array.succeeded_count) == (30, 30)
    assert sorted(map(int, seen.read_text().split())) == list(range(30))
    assert {element.id for element in elements.tasks} == {f"{task.id}.{index}" for index in range(30)}
    await is_clean(yard)


@pytest.mark.asyncio
async def test_placement_obeys_pins_labels_and_policies(yard: Yard) -> None:  # S0.2
    async with yard.client() as client:
        await client.nodes.label("node-2", {"zone": "b"})
        pinned = await client.run(["true"], options={**SMALL, "node": "node-2"})
        labelled = await client.run(["true"], options={**SMALL, "node_labels": {"zone": "b"}})
        assert (pinned.node, labelled.node) == ("node-2", "node-2")
        async with running(client, {"cpu": 1, "node": "node-1"}):
            packed = await client.run(["true"], options={**SMALL, "policy": "binpack"})
            spread = await client.run(["true"], options={**SMALL, "policy": "spread"})
        await client.nodes.label("node-2", remove=["zone"])
    assert (packed.node, spread.node) == ("node-1", "node-2")


@pytest.mark.asyncio
@pytest.mark.parametrize("busy", ["node-1", "node-2"])
async def test_less_occupied_of_two_nodes_gets_the_task(yard: Yard, busy: str) -> None:  # S0.3 S0.5
    """Both fit; the occupancy that a client is shown is the one that decides."""
    async with yard.client() as client, running(client, {"cpu": 3.5, "node": busy}) as held:
        ratios = {node.node: node.occupancy_ratio for node in await client.nodes.occupancy()}
        assert max(ratios, key=lambda name: ratios[name]) == busy
        tasks = await asyncio.gather(*(client.run(["true"], options=SMALL) for _ in range(3)))
        explained = await client.tasks.explain(held.id)
    assert {task.node for task in tasks} == {*yard.nodes} - {busy}
    assert busy in explained.summary


@contextlib.asynccontextmanager
async def running(client: Client, options: Options):  # type: ignore[no-untyped-def]
    """A command that runs as long as the block."""
    spec_task = asyncio.ensure_future(
        client.run(["sleep", "600"], options={**options, "name": "busy"}, check=False)
    )
    name = task_pb2.TaskFilter(name="busy", states=[task_pb2.TASK_STATE_RUNNING])

    async def runs() -> list[task_pb2.Task]:
        return list((await client.tasks.list(name)).tasks)

    [task] = await wait_until(runs, "it runs")
    try:
        yield task
    finally:
        await client.tasks.cancel(task.id, grace_s=0)
        await spec_task


@pytest.mark.asyncio
async def test_inputs_params_and_results_travel_with_the_task(
    yard: Yard, tmp_path: Path
) -> None:  # S0.1 S0.6
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(200_000))
    code = tmp_path / "code"
    code.mkdir()
    (code / "tool.py").write_text("def broken() -> float:\n    return 1 / 0\n")
    script = "cat $YARD_PARAMS; cmp $YARD_INPUT_BIG big.bin && cat $YARD_INPUT_WORD"
    words = ("run", "--cpu", "0.1", "--param", "rate=0.5", "--input", f"big=@{big}", "--input", "word=hello")
    result = yard.cli(*words, "--attach", str(big), "--", "sh", "-c", script)
    assert (result.code, result.stdout) == (0, '{"rate":0.5}hello'), result.stderr
    async with yard.client() as client:
        assert await client.call("echo", value={"a": [1, None, "ü"]}) == {"a": [1, None, "ü"]}
        large = "x" * 200_000
        assert await client.call("echo", value=large) == large
        with pytest.raises(TaskFailed, match="division by zero"):
            await client.call(
                "tool:broken", options={**SMALL, "bundle_digest": await client.artifacts.bundle(code)}
            )


def test_agent_that_is_stopped_drains_and_its_tasks_go_on_elsewhere(own_yard: Yard, tmp_path: Path) -> None:
    """SIGTERM to an agent: nothing new, what runs ends or moves, the other node takes it over."""
    marks = tmp_path / "marks"
    script = f"echo begin $YARD_NODE >> {marks}; sleep 1.5; echo end $YARD_NODE >> {marks}"
    ids = [
        own_yard.cli("run", "--detach", "--cpu", "0.5", "--retries", "3", "--", *shell(script)).stdout.strip()
        for _ in range(4)
    ]
    wait_until_sync(lambda: marks.exists() and marks.read_text().count("begin") == 4, "all run", timeout_s=20)
    stopped = own_yard.kill("agent-node-1", signal.SIGTERM)
    result = own_yard.cli("tasks", "wait", *ids, "--timeout", "60s")
    assert result.code == 0, result.stderr + own_yard.logs()
    tasks = [own_yard.json("tasks", "get", task_id) for task_id in ids]
    assert {task["state"] for task in tasks} == {"TASK_STATE_SUCCEEDED"}
    assert marks.read_text().count("end") >= 4
    own_yard.wait_for("agent-node-1", not_pid=stopped)
    assert _state_of(own_yard, "node-1") == "NODE_STATE_READY"


def test_tasks_of_an_agent_that_is_gone_for_good_go_on_elsewhere(own_yard: Yard, tmp_path: Path) -> None:
    """Drained by an administrator with no time to lose: attempts move to the other node and are visible."""
    marks = tmp_path / "marks"
    script = f"echo $YARD_NODE >> {marks}; [ $YARD_NODE = node-2 ] || sleep 600"
    words = ("run", "--detach", "--cpu", "0.5", "--label", "os=linux", "--", *shell(script))
    own_yard.cli("nodes", "cordon", "node-2")
    task_id = own_yard.cli(*words).stdout.strip()
    wait_until_sync(lambda: marks.exists() and "node-1" in marks.read_text(), "it runs", timeout_s=20)
    own_yard.cli("nodes", "uncordon", "node-2")
    own_yard.cli("nodes", "drain", "node-1", "--timeout", "1s")
    result = own_yard.cli("tasks", "wait", task_id, "--timeout", "60s")
    assert result.code == 0, result.stderr + own_yard.logs()
    task = own_yard.json("tasks", "get", task_id)
    assert (task["node"], task["attempt"]) == ("node-2", 2)
    assert marks.read_text().split() == ["node-1", "node-2"]


def _state_of(yard: Yard, node: str) -> str:
    name: str = wait_until_sync(
        lambda: (state := yard.json("nodes", "get", node)["state"]) == "NODE_STATE_READY" and state,
        f"{node} is ready",
        timeout_s=20,
    )
    return name
