"""Imports and exports over real gRPC (S1, point 11): saved, judged, given back; and pictures."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from modelyard.v1 import canvas_pb2 as pb
from tests.integration.test_graph_projects import canvas
from tests.support.foreign_canvases import KFP, PROMPT, SAMPLES
from tests.support.graph_yard import graph_yard
from tests.support.scheduler_service import refusal


def _without_ours(document: dict[str, Any]) -> dict[str, Any]:
    """The document without what is kept in it for us."""
    rest = {
        key: _without_ours(value) if key in ("extra", "extra_data", "app_data", "deploymentSpec") else value
        for key, value in document.items()
        if key != "modelyard"
    }
    return {key: value for key, value in rest.items() if value or key != "app_data"}


@pytest.mark.asyncio
async def test_imported_canvas_is_saved_judged_and_exported_as_it_came(tmp_path: Path) -> None:
    async with graph_yard(tmp_path) as yard:
        project = await yard.admin.create()
        for parent, (name, document) in enumerate(SAMPLES.items()):
            imported = await yard.admin.projects.ImportCanvas(
                pb.ImportCanvasRequest(
                    project_id=project, parent=parent, document=json.dumps(document).encode()
                )
            )
            assert imported.format == name
            assert imported.version.version == parent + 1
            assert imported.findings
            exported = await yard.admin.projects.ExportCanvas(
                pb.ExportCanvasRequest(project_id=project, version=parent + 1, format=name)
            )
            back = _without_ours(json.loads(exported.document))
            assert back == document or back == {"prompt": document, "extra_data": {}}
            # Exported and imported again it is the canvas that was saved, with all that the service gave it.
            again = await yard.admin.projects.ImportCanvas(
                pb.ImportCanvasRequest(document=exported.document, format=name)
            )
            saved = await yard.admin.projects.GetCanvas(
                pb.GetCanvasRequest(project_id=project, version=parent + 1)
            )
            assert again.canvas_json == saved.canvas_json


@pytest.mark.asyncio
async def test_placeholders_are_told_when_they_are_saved(tmp_path: Path) -> None:
    async with graph_yard(tmp_path) as yard:
        project = await yard.admin.create()
        imported = await yard.admin.projects.ImportCanvas(
            pb.ImportCanvasRequest(project_id=project, document=json.dumps(PROMPT).encode())
        )
        told = [(problem.reason, problem.node) for problem in imported.problems]
        assert told == [("PLACEHOLDER", "3"), ("PLACEHOLDER", "4"), ("PLACEHOLDER", "10")]


@pytest.mark.asyncio
async def test_refusals_say_what_is_wrong_and_what_is_known(tmp_path: Path) -> None:
    async with graph_yard(tmp_path) as yard:
        error = await refusal(yard.admin.projects.ImportCanvas(pb.ImportCanvasRequest(document=b"{")))
        assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "IMPORT_REFUSED", "document")
        request = pb.ImportCanvasRequest(document=json.dumps(KFP).encode(), format="airflow")
        error = await refusal(yard.admin.projects.ImportCanvas(request))
        assert (error.reason, error.field) == ("FORMAT_UNKNOWN", "format")
        project = await yard.admin.create()
        await yard.admin.save(project, canvas())
        error = await refusal(
            yard.admin.projects.ExportCanvas(pb.ExportCanvasRequest(project_id=project, format="pdf"))
        )
        assert error.reason == "FORMAT_UNKNOWN"


@pytest.mark.asyncio
async def test_picture_of_a_version_shows_its_levels(tmp_path: Path) -> None:
    async with graph_yard(tmp_path) as yard:
        project = await yard.admin.create("<ocr>")
        await yard.admin.save(project, canvas())
        answer = await yard.admin.projects.ExportCanvas(
            pb.ExportCanvasRequest(project_id=project, format="svg")
        )
        texts = ["".join(each.itertext()) for each in ET.fromstring(answer.document).iter()]
        assert {"level 0", "level 1", "□ n1", "□ n2", "<ocr>, version 1"} <= set(texts)
