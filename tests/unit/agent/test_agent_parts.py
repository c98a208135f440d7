"""The agent's smaller parts: specifications, limits, outputs, variables, configuration."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from modelyard.v1 import node_pb2, task_pb2
from services.agent.config import check_node_name, parse_custom, parse_pairs
from services.agent.host.host import offered_shares
from services.agent.host.sampler import Sample, Sampler
from services.agent.keeping.outputs import matches
from services.agent.link.join import Record
from services.agent.messages.decode import decode_body, environment_key, pool_of
from services.agent.messages.specifications import Specifications
from services.agent.preparation.variables import file_name, input_variable
from services.agent.tasks.model import Pool
from services.agent.tasks.params import merged_params
from services.chassis.process.config import ConfigInvalid


def spec(**fields: object) -> bytes:
    work = {"operator": task_pb2.OperatorWork(operator="echo")} if "command" not in fields else {}
    return task_pb2.TaskSpec(**work, **fields).SerializeToString()  # type: ignore[arg-type]


def test_body_without_resources_takes_one_core() -> None:
    body = decode_body(1, "ann", spec())
    assert body.resources == (("cpu", 10_000),)
    assert body.pool == Pool("ann")
    assert body.limits.is_empty


def test_body_with_explicit_resources_is_limited_to_them() -> None:
    asked = task_pb2.Resources(cpu=0.5, memory_bytes=1 << 20, gpu=0.25, custom={"fpga": 2})
    body = decode_body(1, "ann", spec(resources=asked))
    assert body.resources == (("cpu", 5_000), ("fpga", 20_000), ("gpu", 2_500), ("memory", 1 << 20))
    assert (body.limits.cpu, body.limits.memory_bytes) == (0.5, 1 << 20)


def test_struct_parameters_keep_whole_numbers_whole() -> None:
    asked = task_pb2.TaskSpec(operator=task_pb2.OperatorWork(operator="echo"))
    asked.params.update({"n": 3, "x": 0.5})
    body = decode_body(1, "ann", asked.SerializeToString(deterministic=True))
    assert sorted(body.params_json.strip("{}").split(",")) == ['"n":3', '"x":0.5']


def test_variables_and_environment_make_pools_of_their_own() -> None:
    plain = decode_body(1, "ann", spec())
    coloured = decode_body(2, "ann", spec(env={"COLOUR": "blue"}))
    built = decode_body(3, "ann", spec(environment=task_pb2.Environment(requirements="six")))
    assert len({plain.pool, coloured.pool, built.pool}) == 3
    assert built.needs == (f"environment:ann:{environment_key('six')}",)
    assert pool_of(plain, ("0:0.5", "1")).variables == (("CUDA_VISIBLE_DEVICES", "0,1"),)


def test_specifications_survive_the_process_and_a_cut_off_file(tmp_path: Path) -> None:
    path = tmp_path / "specifications"
    first = Specifications(path)
    body = first.add("ann", spec())
    assert first.add("ann", spec()) is body
    assert first.add("bob", spec()).number != body.number
    first.save()
    first.close()
    path.write_bytes(path.read_bytes()[:-3])
    second = Specifications(path)
    assert second.body(body.number) == body
    assert second.add("eve", spec()).number > body.number
    with pytest.raises(KeyError):
        second.body(99)
    second.close()


def test_outputs_match_files_below_the_directory_only(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "sub").mkdir(parents=True)
    (work / "a.txt").write_text("a")
    (work / "sub" / "b.txt").write_text("b")
    (tmp_path / "secret.txt").write_text("s")
    (work / "leak.txt").symlink_to(tmp_path / "secret.txt")
    assert [name for name, _ in matches(work, ("*.txt", "sub"))] == ["a.txt", "sub/b.txt"]
    assert matches(work, ("../*.txt", "/etc/*", "")) == []


def test_names_of_inputs_are_never_paths() -> None:
    assert file_name("../../etc/passwd") == "_.._etc_passwd"
    assert file_name("..") == "_"
    assert input_variable("train-data") == "YARD_INPUT_TRAIN_DATA"


def test_own_parameters_lie_over_the_specifications_and_keep_large_integers() -> None:
    merged = merged_params('{"a": 1, "n": 12345678901234567890123}', '{"a": 2}')
    assert merged == '{"a":2,"n":12345678901234567890123}'


def test_credentials_are_renewed_at_two_thirds_of_their_lifetime() -> None:
    assert Record("yard_agent_x", 0, 100_000).renew_in_s(0) == 67
    assert Record("yard_agent_x", 0, 100_000).renew_in_s(99_000) == 0.5
    assert Record("yard_agent_x").renew_in_s(0) is None


def test_windows_are_means_over_what_is_there() -> None:  # S0.4
    sampler = Sampler()
    for second in range(4):
        sampler.look(second * 1_000)
    assert [usage.window_s for usage in sampler.windows()] == [1, 10, 60]
    assert all(usage.memory_bytes > 0 for usage in sampler.windows())


def test_worker_that_has_just_ended_uses_nothing() -> None:
    sampler = Sampler()
    ended = subprocess.Popen(["true"])
    ended.wait()
    used = sampler.tasks({"t-1": ended.pid, "t-2": os.getpid()}, 1_000)
    assert used["t-1"] == (0.0, 0) and used["t-2"].memory_bytes > 0


@pytest.mark.parametrize("name", ["", "A", "-a", "a/b", "..", "a" * 64])
def test_bad_node_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigInvalid, match="node"):
        check_node_name(name)


def test_pairs_and_amounts_are_read_or_refused_with_their_field() -> None:
    assert parse_pairs("a=1, b=x", "labels") == {"a": "1", "b": "x"}
    with pytest.raises(ConfigInvalid, match="labels"):
        parse_pairs("a", "labels")
    with pytest.raises(ConfigInvalid, match="--cpu"):
        parse_custom("cpu=1")
    with pytest.raises(ConfigInvalid, match="custom"):
        parse_custom("fpga=many")


def test_half_of_a_machine_is_charged_with_half_of_what_is_measured() -> None:  # S0.4
    whole, half = Sampler(), Sampler(0.5, 0.25)
    for sampler in (whole, half):
        sampler._samples.extend([Sample(0, 10.0, 1_000), Sample(1_000, 12.0, 3_000)])
    assert whole.windows()[0] == (1, 2.0, 2_000, 0.0)
    assert half.windows()[0] == (1, 1.0, 500, 0.0)


def test_offer_is_never_more_than_the_whole_machine() -> None:
    total = psutil.virtual_memory().total
    half = node_pb2.NodeCapacity(cpu=(os.cpu_count() or 1) / 2, memory_bytes=total // 2)
    assert offered_shares(half) == (0.5, pytest.approx(0.5))
    assert offered_shares(node_pb2.NodeCapacity(cpu=1e6, memory_bytes=2 * total)) == (1.0, 1.0)
