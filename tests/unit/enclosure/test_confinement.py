"""What an engine is asked for, so that what runs in a container can do nothing else."""

from __future__ import annotations

from modelyard.enclosure.confinement import Limits, host_config


def test_container_has_every_wall() -> None:  # S2.4
    asked = host_config(Limits(memory_bytes=1 << 30, cpu=1.5))

    walls = {
        "ReadonlyRootfs": True,
        "NetworkMode": "none",
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": 256,
        "Memory": 1 << 30,
        "MemorySwap": 1 << 30,
        "NanoCpus": 1_500_000_000,
        "IpcMode": "private",
    }
    assert {name: asked[name] for name in walls} == walls
    assert asked["Tmpfs"].keys() == {"/tmp"}
    assert {"Name": "core", "Soft": 0, "Hard": 0} in asked["Ulimits"]
    assert "DeviceRequests" not in asked


def test_network_and_devices_are_given_only_where_they_are_asked_for() -> None:  # S2.4
    asked = host_config(Limits(has_network=True, devices=("0", "2")))

    assert asked["NetworkMode"] == "bridge"
    assert asked["DeviceRequests"] == [{"DeviceIDs": ["0", "2"], "Capabilities": [["gpu"]]}]
    assert "Memory" not in asked
