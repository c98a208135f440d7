"""What was determined of a component, as messages of the contract."""

from __future__ import annotations

from modelyard.models import Determined, Format, Inspection, Provenance, write_config
from modelyard.models.facts import Question
from modelyard.v1 import model_pb2 as pb

FORMATS: dict[Format, pb.ComponentFormat.ValueType] = {
    one: pb.ComponentFormat.Value(f"COMPONENT_FORMAT_{one.name}") for one in Format
}
_PROVENANCES = {one: pb.Provenance.Value(f"PROVENANCE_{one.name}") for one in Provenance}


def described(found: Determined, inspection: Inspection) -> pb.DescribeComponentResponse:
    """Without digests of files: those are the store's."""
    response = pb.DescribeComponentResponse(questions=map(question_message, found.questions))
    response.component.format = FORMATS[inspection.format]
    for path, fact in found.facts.items():
        response.config.provenance.add(field=path, provenance=_PROVENANCES[fact.provenance], why=fact.why)
    if found.config is not None:
        response.config.document = write_config(found.config, found.facts)
        response.config.state = pb.MODEL_VERSION_STATE_PROBING
    elif found.refusals:
        response.config.state = pb.MODEL_VERSION_STATE_FAILED
        response.config.message = "; ".join(found.refusals)
    else:
        response.config.state = pb.MODEL_VERSION_STATE_NEEDS_ANSWER
    return response


def question_message(question: Question) -> pb.ComponentQuestion:
    """One that its owner has to answer."""
    return pb.ComponentQuestion(
        field=question.field, question=question.question, choices=question.choices, why=question.why
    )
