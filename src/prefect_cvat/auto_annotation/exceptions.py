"""The error that auto-annotation functions raise and cause."""

from prefect_cvat.exceptions import BadFunctionError

__all__ = ["BadFunctionError"]
