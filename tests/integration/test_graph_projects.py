"""Projects over real gRPC: saving, getting, comparing, judging, sharing (S1.1, S1.2, S1.3)."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from modelyard.v1 import canvas_pb2 as pb
from modelyard.v1 import run_pb2
from tests.support.graph_yard import graph_yard
from tests.support.scheduler_service import refusal


def canvas(width: Any = 224, **more: Any) -> str:
    """An image that is loaded and resized."""
    return json.dumps(
        {
            "nodes": [
                {"id": "n1", "operator": "load"},
                {
                    "id": "n2",
                    "operator": "resize@2",
                    "initial_params": {"w": width},
                    "position": {"x": 1, "y": 2},
                },
            ],
            "edges": [{"id": "e1", "source": "n1", "source_port": "image", "target": "n2"}],
            **more,
        }
    )


@pytest.mark.asyncio
async def test_saved_version_is_given_back_with_everything_that_was_in_it(
    tmp_path: Path,
) -> None:  # S1.1, S1.2
    async with graph_yard(tmp_path) as yard:
        project = await yard.admin.create()
        saved = await yard.admin.save(
            project, canvas(zoom=3, nested={"a": [1, {"b": None}]}), comment="first"
        )
        assert not saved.problems
        assert (saved.version.version, saved.version.parent, saved.version.comment) == (1, 0, "first")
        await yard.restart()
        got = await yard.admin.projects.GetCanvas(pb.GetCanvasRequest(project_id=project))
        document = json.loads(got.canvas_json)
        assert document["zoom"] == 3 and document["nested"] == {"a": [1, {"b": None}]}
        assert [node.drag_sequence for node in got.canvas.nodes] == [1, 2]
        assert got.canvas.nodes[0].drag_in_time.ToMilliseconds() > 0
        again = pb.SaveCanvasRequest(project_id=project, canvas=got.canvas, parent=1)
        second = await yard.admin.projects.SaveCanvas(again)
        assert second.version.digest == saved.version.digest


@pytest.mark.asyncio
async def test_save_on_a_parent_that_is_not_the_latest_is_aborted(tmp_path: Path) -> None:  # S1.2
    async with graph_yard(tmp_path) as yard:
        project = await yard.admin.create()
        saves = [yard.admin.save(project, canvas(width)) for width in range(1, 6)]
        done = await asyncio.gather(*saves, return_exceptions=True)
        assert sum(not isinstance(answer, Exception) for answer in done) == 1
        error = await refusal(yard.admin.projects.SaveCanvas(
            pb.SaveCanvasRequest(project_id=project, canvas_json=canvas(), parent=0)
        ))  # fmt: skip
        assert (error.code, error.reason, error.field) == ("ABORTED", "VERSION_CONFLICT", "parent")
        assert error.metadata["latest_version"] == "1"


@pytest.mark.asyncio
async def test_canvas_with_errors_is_saved_with_all_of_them_told(tmp_path: Path) -> None:  # S1.3
    async with graph_yard(tmp_path) as yard:
        project = await yard.admin.create()
        saved = await yard.admin.save(project, canvas(5000))
        [problem] = saved.problems
        assert (problem.reason, problem.node, problem.field) == ("OUT_OF_RANGE", "n2", "initial_params.w")
        request = pb.SaveCanvasRequest(
            project_id=project, canvas_json=canvas(5000), parent=1, must_be_valid=True
        )
        error = await refusal(yard.admin.projects.SaveCanvas(request))
        assert (error.reason, error.metadata["reasons"]) == ("CANVAS_INVALID", "OUT_OF_RANGE")
        error = await refusal(yard.admin.save(project, '{"nodes": [{"id": 3}]}', 1))
        assert (error.reason, "nodes[0].id" in error.message) == ("CANVAS_UNREADABLE", True)


@pytest.mark.asyncio
async def test_version_that_was_found_right_is_never_looked_at_again(tmp_path: Path) -> None:  # S1.3
    async with graph_yard(tmp_path) as yard:
        project = await yard.admin.create()
        await yard.admin.save(project, canvas())
        request = pb.ValidateCanvasRequest(project_id=project)
        for _ in range(3):
            answer = await yard.admin.projects.ValidateCanvas(request)
            assert answer.was_known and not answer.problems
        assert yard.service._library.judged == 1
        await yard.restart()
        assert (await yard.admin.projects.ValidateCanvas(request)).was_known
        assert yard.service._library.judged == 0


@pytest.mark.asyncio
async def test_execution_graph_has_its_nine_fields(tmp_path: Path) -> None:  # S1.1, S1.3
    async with graph_yard(tmp_path) as yard:
        answer = await yard.admin.projects.ValidateCanvas(pb.ValidateCanvasRequest(canvas_json=canvas()))
        first, second = answer.graph.nodes
        assert (first.node_id, first.gradient, first.order) == ("n1", 0, 0)
        assert (second.node_id, second.gradient, second.order) == ("n2", 1, 1)
        assert second.topology.inputs[0].node == "n1" and first.topology.outputs[0].port == "image"
        assert (second.operator_address.operator, second.operator_address.version) == ("resize", "2")
        assert list(second.operator_address.nodes) == ["n0"]
        assert json.loads(second.initial_params_json) == {"w": 224}
        assert second.state == pb.EXECUTION_STATE_PENDING
        assert not second.record_flag and not second.parameter_address and not second.task


@pytest.mark.asyncio
async def test_diff_tells_nodes_parameters_edges_and_moves(tmp_path: Path) -> None:  # S1.2
    async with graph_yard(tmp_path) as yard:
        project = await yard.admin.create()
        await yard.admin.save(project, canvas())
        changed = json.loads(canvas(100))
        changed["nodes"][1]["position"] = {"x": 5, "y": 2}
        changed["nodes"].append({"id": "n3", "operator": "join"})
        changed["edges"] = [{"id": "e2", "source": "n1", "source_port": "meta", "target": "n3"}]
        await yard.admin.save(project, json.dumps(changed), 1)
        answer = await yard.admin.projects.DiffVersions(
            pb.DiffVersionsRequest(project_id=project, from_version=1)
        )
        told = {
            (pb.CanvasChangeKind.Name(change.kind)[19:], change.id, change.field) for change in answer.changes
        }
        assert {
            ("NODE_MOVED", "n2", "position"),
            ("NODE_CHANGED", "n2", "initial_params.w"),
            ("NODE_ADDED", "n3", ""),
            ("EDGE_ADDED", "e2", ""),
            ("EDGE_REMOVED", "e1", ""),
        } <= told
        [width] = [change for change in answer.changes if change.field == "initial_params.w"]
        assert (width.before_json, width.after_json) == ("224", "100")


@pytest.mark.asyncio
async def test_project_is_seen_and_changed_by_whom_its_owner_lets(tmp_path: Path) -> None:  # S1.2
    async with graph_yard(tmp_path) as yard:
        ada, bob = await yard.user("ada"), await yard.user("bob")
        project = await ada.create("mine")
        get = pb.GetProjectRequest(project_id=project)
        assert (await refusal(bob.projects.GetProject(get))).reason == "PROJECT_NOT_FOUND"
        assert not (await bob.projects.ListProjects(pb.ListProjectsRequest())).projects
        share = pb.SetProjectAccessRequest(project_id=project, account="bob", role=pb.PROJECT_ROLE_VIEWER)
        assert (await refusal(bob.projects.SetProjectAccess(share))).reason == "PROJECT_NOT_FOUND"
        await ada.projects.SetProjectAccess(share)
        assert [p.id for p in (await bob.projects.ListProjects(pb.ListProjectsRequest())).projects] == [
            project
        ]
        assert (await refusal(bob.save(project, canvas()))).reason == "PROJECT_FORBIDDEN"
        delete = pb.DeleteProjectRequest(project_id=project)
        assert (await refusal(bob.projects.DeleteProject(delete))).reason == "PROJECT_FORBIDDEN"
        share.role = pb.PROJECT_ROLE_EDITOR
        await ada.projects.SetProjectAccess(share)
        assert (await bob.save(project, canvas())).version.author == "bob"
        share.role = pb.PROJECT_ROLE_UNSPECIFIED
        await ada.projects.SetProjectAccess(share)
        assert (await refusal(bob.projects.GetProject(get))).reason == "PROJECT_NOT_FOUND"
        await ada.projects.DeleteProject(delete)
        assert (await refusal(ada.projects.GetProject(get))).reason == "PROJECT_NOT_FOUND"


@pytest.mark.asyncio
async def test_sequence_of_a_node_stays_over_versions(tmp_path: Path) -> None:  # S1.9
    async with graph_yard(tmp_path) as yard:
        project = await yard.admin.create()

        async def save(parent: int, *ids: str) -> dict[str, int]:
            nodes = [{"id": id_, "operator": "join"} for id_ in ids]
            await yard.admin.save(project, json.dumps({"nodes": nodes}), parent)
            got = await yard.admin.projects.GetCanvas(pb.GetCanvasRequest(project_id=project))
            return {node.id: node.drag_sequence for node in got.canvas.nodes}

        assert await save(0, "a", "b") == {"a": 1, "b": 2}
        assert await save(1, "c", "b") == {"c": 3, "b": 2}
        assert await save(2, "b", "a", "d") == {"b": 2, "a": 1, "d": 4}


@pytest.mark.asyncio
async def test_repeated_save_gives_the_first_answer(tmp_path: Path) -> None:
    async with graph_yard(tmp_path) as yard:
        project = await yard.admin.create()
        request_id = str(uuid.uuid4())
        first = await yard.admin.save(project, canvas(), request_id=request_id)
        await yard.restart()
        assert await yard.admin.save(project, canvas(), request_id=request_id) == first
        error = await refusal(yard.admin.save(project, canvas(7), request_id=request_id))
        assert error.reason == "REQUEST_ID_REUSED"


@pytest.mark.asyncio
async def test_versions_are_paged_newest_first(tmp_path: Path) -> None:
    async with graph_yard(tmp_path) as yard:
        project = await yard.admin.create()
        for parent in range(5):
            await yard.admin.save(project, canvas(parent + 1), parent)
        found, token = [], ""
        while True:
            request = pb.ListVersionsRequest(project_id=project, page_size=2, page_token=token)
            page = await yard.admin.projects.ListVersions(request)
            found += [version.version for version in page.versions]
            token = page.next_page_token
            if not token:
                break
        assert found == [5, 4, 3, 2, 1]


@pytest.mark.asyncio
async def test_explain_shows_levels_order_and_node_before_anything_runs(tmp_path: Path) -> None:  # S1.3
    async with graph_yard(tmp_path) as yard:
        project = await yard.admin.create()
        await yard.admin.save(project, canvas())
        answer = await yard.admin.runs.ExplainRun(run_pb2.ExplainRunRequest(project_id=project))
        assert [(node.node_id, node.gradient, node.order) for node in answer.nodes] == [
            ("n1", 0, 0),
            ("n2", 1, 1),
        ]
        assert [node.node for node in answer.nodes] == ["n0", "n0"] and all(
            node.message for node in answer.nodes
        )
        assert (list(answer.critical_path), answer.level_count) == (["n1", "n2"], 2)
        assert not (await yard.admin.runs.ListRuns(run_pb2.ListRunsRequest())).runs


@pytest.mark.asyncio
async def test_fields_that_were_perhaps_meant_otherwise_are_told_and_make_nothing_invalid(
    tmp_path: Path,
) -> None:  # S1.1
    async with graph_yard(tmp_path) as yard:
        project = await yard.admin.create()
        text = canvas(dragInTime="never", initialParams=1)
        document = json.loads(text)
        document["nodes"][0]["initial_params_json"] = "{}"
        saved = await yard.admin.save(project, json.dumps(document), must_be_valid=True)
        assert not saved.problems
        [hint] = saved.hints
        assert (hint.reason, hint.node, hint.field) == ("UNKNOWN_FIELD", "n1", "initial_params_json")
        assert hint.next_step == "did you mean 'initial_params'?"
        for _ in range(2):  # the second time it is known to be right
            judged = await yard.admin.projects.ValidateCanvas(pb.ValidateCanvasRequest(project_id=project))
            assert list(judged.hints) == [hint] and not judged.problems and judged.graph.nodes
        got = await yard.admin.projects.GetCanvas(pb.GetCanvasRequest(project_id=project))
        kept = json.loads(got.canvas_json)
        assert kept["nodes"][0]["initial_params_json"] == "{}" and kept["dragInTime"] == "never"
        carried = pb.ValidateCanvasRequest(canvas=got.canvas)
        assert list((await yard.admin.projects.ValidateCanvas(carried)).hints) == [hint]
