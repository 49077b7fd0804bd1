"""Parses responses into models; errors name the route and the field."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from prefect_cvat.cvat.response_checks.annotation_checks import annotation_error
from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.models import LabeledData

__all__ = ["invalid_response", "parse_annotations", "parse_response"]

Model = TypeVar("Model", bound=BaseModel)


def parse_response(model: type[Model], answer: object, what: str) -> Model:
    """Parse a response into a model.

    Args:
        model: The model.
        answer: The JSON of the response.
        what: What was requested, for errors.

    Raises:
        InvalidResponseError: The response is not what CVAT sends.
    """
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'it'}: {problem['msg']}"
            for problem in error.errors()[:3]
        )
        raise invalid_response(what, problems) from None


def parse_annotations(answer: object, what: str) -> LabeledData:
    """Parse a response into annotations.

    Args:
        answer: The JSON of the response.
        what: What was requested, for errors.

    Raises:
        InvalidResponseError: The response is not what CVAT sends.
    """
    data = parse_response(LabeledData, answer, what)
    for kind, found in (("tags", data.tags), ("shapes", data.shapes), ("tracks", data.tracks)):
        for annotation in found:
            if (problem := annotation_error(kind, annotation)) is not None:
                raise invalid_response(what, problem)
    return data


def invalid_response(what: str, why: str) -> InvalidResponseError:
    """Make an exception for a response that is not what CVAT sends.

    Args:
        what: What was requested.
        why: What is wrong, and where.
    """
    return InvalidResponseError(f"the server's answer for {what} is not what CVAT sends: {why}")
