"""Metrics of running services: every one that the Grafana board queries is exported by a real yard (issue 3, 9)."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.yard import Yard, free_port_base, new_yard

DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = re.compile(r"\b(?:yard|rpc|process)_[a-z_]+[a-z]\b")
NOT_NAMES = {"rpc_method", "rpc_response_status_code"}


@pytest.fixture(scope="module")
def measured() -> Iterator[tuple[Yard, int]]:
    """A yard with metrics, where something has happened."""
    with new_yard(is_up=False) as yard:
        base = free_port_base()
        assert yard.up("--metrics-port-base", str(base)).code == 0
        assert yard.cli("call", "echo", "--param", "value=1").code == 0
        assert yard.cli("run", "--", "false").code == 1
        yield yard, base
        assert yard.cli("down").code == 0


def text(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def exported(port: int) -> set[str]:
    """Names that can be queried."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text(port), re.MULTILINE):
        names |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def queried() -> set[str]:
    board = json.loads((DEPLOY / "grafana" / "modelyard.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    assert len(expressions) > 30
    return {name for text in expressions for name in NAME.findall(text)} - NOT_NAMES


def test_every_metric_of_the_board_is_exported(measured: tuple[Yard, int]) -> None:
    yard, base = measured
    found = set().union(*(exported(base + number) for number in range(3 + yard.agents)))
    assert queried() - found == set()


def test_figures_are_those_of_what_happened(measured: tuple[Yard, int]) -> None:
    _, base = measured
    shown = text(base)
    assert 'yard_tasks_ended_total{cause="exit",state="failed"} 1.0' in shown
    assert 'yard_tasks_ended_total{cause="none",state="succeeded"} 1.0' in shown
    assert 'yard_nodes{state="ready"} 2.0' in shown
    assert "yard_agent_connected 1.0" in text(base + 3)
    # Nothing that people write, and no task ids: labels must stay few.
    assert "t-1" not in shown


def test_metrics_are_served_on_loopback_only(measured: tuple[Yard, int]) -> None:
    _, base = measured
    import psutil

    listening = [c.laddr for c in psutil.net_connections("tcp") if c.status == "LISTEN"]
    assert {address.ip for address in listening if address.port in (base, base + 1)} == {"127.0.0.1"}


def test_scrape_example_names_the_services() -> None:
    jobs = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert [job["job_name"] for job in jobs] == ["scheduler", "store", "graph", "agent"]
