"""Metrics: named after OpenTelemetry, on loopback, absent unless asked for."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request

import pytest

from services.chassis.metrics.prometheus import MetricsPortTaken
from services.chassis.metrics.registry import NoMetrics, make_metrics
from tests.support.ports import free_port


def test_metrics_count_calls_and_refusals() -> None:
    port = free_port()
    metrics = make_metrics(port)
    try:
        metrics.rpc("/x.X/Get", "OK", 0.002)
        metrics.denied("TOKEN_MISSING")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    finally:
        metrics.close()
    labels = 'rpc_method="/x.X/Get",rpc_response_status_code="OK"'
    assert f"rpc_server_call_duration_seconds_count{{{labels}}} 1.0" in text
    assert 'yard_auth_denied_total{reason="TOKEN_MISSING"} 1.0' in text


def test_metrics_port_taken_is_refused_with_the_flag() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(MetricsPortTaken, match="--metrics-port"),
    ):
        make_metrics(taken.getsockname()[1])


def test_metrics_off_record_nothing() -> None:
    metrics = make_metrics(0)
    metrics.rpc("/x.X/Get", "OK", 0.002)
    metrics.denied("TOKEN_MISSING")
    metrics.close()
    assert isinstance(metrics, NoMetrics)


def test_start_of_a_service_imports_nothing_it_does_not_use() -> None:
    """Each of these costs a start tens of milliseconds."""
    code = (
        "import sys, services.chassis.process.bootstrap, services.chassis.rpc.server, services.chassis.storage.sqlite,"
        " services.chassis.access.remote; print([m for m in"
        " ('rich', 'prometheus_client', 'cryptography', 'typer', 'fsspec', 'psutil') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
