"""The renderer of charts, started: it keeps files of its own open from its first picture on."""

from __future__ import annotations

import pytest
import vl_convert


@pytest.fixture(scope="module")
def renderer() -> None:
    """Before the look at what a test leaves behind."""
    spec = {"data": {"values": []}, "mark": "bar", "encoding": {}}
    vl_convert.vegalite_to_png(spec, vl_version="5.20", allowed_base_urls=[])
