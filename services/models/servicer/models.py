"""ModelService: models, their versions, how each is configured."""

from __future__ import annotations

from modelyard.v1 import model_pb2_grpc


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """What its owner may do with a model, administrators may too."""
