"""The extensions that stock clients use: streams, configuration, statistics, repository."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from modelyard.oip.v2 import inference_pb2 as pb
from tests.conformance.asking import request_for


def streamed(server: Any, requests: list[pb.ModelInferRequest]) -> list[pb.ModelStreamInferResponse]:
    """All answers."""
    try:
        return list(server.ModelStreamInfer(iter(requests)))
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            pytest.skip("the server has no ModelStreamInfer")
        raise


def test_stream_answers_each_request(server: Any, metadata: Any) -> None:
    requests = []
    for at in range(5):
        requests.append(request_for(metadata))
        requests[-1].id = str(at)
    answers = streamed(server, requests)
    assert not [one.error_message for one in answers if one.error_message]
    assert sorted(one.infer_response.id for one in answers) == ["0", "1", "2", "3", "4"]
    assert all(one.infer_response.outputs for one in answers)


def test_stream_goes_on_after_an_error(server: Any, metadata: Any) -> None:
    wrong, right = request_for(metadata), request_for(metadata)
    wrong.model_name = "no-such-model"
    answers = streamed(server, [wrong, right])
    assert sorted(bool(one.error_message) for one in answers) == [False, True]


def test_configuration_has_the_inputs_of_the_metadata(server: Any, metadata: Any) -> None:
    config = server.extension("ModelConfig", pb.ModelConfigRequest(name=metadata.name)).config
    assert config.name == metadata.name
    assert {one.name for one in config.input} == {one.name for one in metadata.inputs}
    assert {one.name for one in config.output} == {one.name for one in metadata.outputs}
    assert all(one.data_type != pb.TYPE_INVALID for one in (*config.input, *config.output))


def test_statistics_count_calls(server: Any, metadata: Any) -> None:
    request = pb.ModelStatisticsRequest(name=metadata.name)

    def counted() -> tuple[int, int]:
        stats = server.extension("ModelStatistics", request).model_stats
        return sum(one.inference_stats.success.count for one in stats), sum(
            one.inference_count for one in stats
        )

    before = counted()
    server.ModelInfer(request_for(metadata))
    after = counted()
    assert after[0] >= before[0] + 1
    assert after[1] >= before[1] + 1


def test_index_shows_the_model(server: Any, metadata: Any) -> None:
    server.ModelInfer(request_for(metadata))
    index = server.extension("RepositoryIndex", pb.RepositoryIndexRequest())
    assert metadata.name in {one.name for one in index.models}
    ready = server.extension("RepositoryIndex", pb.RepositoryIndexRequest(ready=True))
    assert ("READY" in {one.state for one in ready.models}) and metadata.name in {
        one.name for one in ready.models
    }


def test_model_is_loaded_when_asked(server: Any, metadata: Any) -> None:
    server.extension("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=metadata.name))
    assert server.ModelReady(pb.ModelReadyRequest(name=metadata.name)).ready


def test_unknown_model_cannot_be_loaded(server: Any) -> None:
    request = pb.RepositoryModelLoadRequest(model_name="no-such-model")
    with pytest.raises(grpc.RpcError) as caught:
        server.stub.RepositoryModelLoad(request, timeout=10, metadata=server.metadata)
    assert caught.value.code() != grpc.StatusCode.OK
