"""What the engine is asked for, for a command: nothing that was not given to it."""

from __future__ import annotations

from dataclasses import replace

from modelyard.enclosure.command_order import CommandOrder

ORDER = CommandOrder(
    image="python:3.11-slim",
    argv=("sh", "-c", "exit 3"),
    env={"A": "1"},
    directory="/state/tasks/t-1-1",
    outcome_path="/state/tasks/t-1-1/outcome.json",
    label="abc:t-1/1",
    user="65534:65534",
    memory_bytes=64 << 20,
    cpu=1.5,
    pids=100,
)


def test_order_is_read_as_it_was_written() -> None:
    assert CommandOrder.read(ORDER.text()) == ORDER


def test_container_of_a_command_may_only_what_was_given() -> None:
    config = ORDER.config("sha256:1", "label")
    host = config["HostConfig"]
    assert (config["Image"], config["Entrypoint"], config["Cmd"]) == ("sha256:1", ["sh"], ["-c", "exit 3"])
    assert (config["User"], config["Labels"]) == ("65534:65534", {"label": "abc:t-1/1"})
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"]) == ("none", True, ["ALL"])
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        64 << 20, 64 << 20, 1_500_000_000, 100,
    )  # fmt: skip
    writable = [mount["Target"] for mount in host["Mounts"] if not mount["ReadOnly"]]
    assert writable == ["/task/work", "/task/progress"]
    assert all(mount["Source"].startswith(ORDER.directory) for mount in host["Mounts"])
    assert "DeviceRequests" not in host


def test_network_and_devices_are_there_when_asked_for() -> None:
    host = replace(ORDER, network="bridge", gpus=("1",)).config("sha256:1", "label")["HostConfig"]
    assert host["NetworkMode"] == "bridge"
    assert host["DeviceRequests"] == [{"DeviceIDs": ["1"], "Capabilities": [["gpu"]]}]
