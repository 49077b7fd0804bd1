"""The base class of option models, and the messages of validation errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from prefect_cvat.messages.argument_names import argument

__all__ = ["OnCommandLine", "OptionModel", "list_or_none"]


@dataclass(frozen=True)
class OnCommandLine:
    """The flag of an option on the command line, if it does not follow from its name and type.

    Attributes:
        flag: The flag, such as `--label`, or `--cache/--no-cache`; by default the name with dashes.
        metavar: The name of its value in the help, such as `RANGES`.
    """

    flag: str | None = None
    metavar: str | None = None

    @classmethod
    def of(cls, field: FieldInfo) -> OnCommandLine:
        """The flag of a field."""
        return next((note for note in reversed(field.metadata) if isinstance(note, cls)), cls())


class OptionModel(BaseModel):
    """A group of options. Each is defined here once: for Python, the command line and Prefect's form.

    Attributes:
        group: The heading of the group in the help and in the documentation.

    Raises:
        ValueError: A value is out of range, or two options contradict each other. The message names the
            options as the user gave them.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        field_title_generator=lambda name, _: _title(name),
    )

    group: ClassVar[str] = ""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError("; ".join(map(_describe, error.errors()))) from None

    @classmethod
    def from_keywords(cls, keywords: Mapping[str, object]) -> Self:
        """Make a model from keyword arguments; unknown ones are ignored."""
        return cls(**{name: value for name, value in keywords.items() if name in cls.model_fields})

    @classmethod
    def of(cls, *models: BaseModel) -> Self:
        """Make a model from fields of other models; missing fields have their defaults."""
        values: dict[str, Any] = {}
        for model in models:
            shared = cls.model_fields.keys() & type(model).model_fields.keys()
            values.update({name: getattr(model, name) for name in shared})
        return cls(**values)

    def changed(self, **values: Any) -> Self:
        """A copy with validated changes."""
        return type(self)(**{**{name: getattr(self, name) for name in type(self).model_fields}, **values})

    @classmethod
    def titles(cls) -> dict[str, str]:
        """The titles of the options in the form, by name."""
        return {name: field.title or _title(name) for name, field in cls.model_fields.items()}

    @classmethod
    def group_of(cls, name: str) -> str:
        """The heading of the group that an option belongs to."""
        return next(
            base.group
            for base in reversed(cls.__mro__)
            if issubclass(base, OptionModel) and name in base.model_fields
        )


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def list_or_none(values: Any) -> Any:
    """Convert a collection or a single text to a list; an empty value, from a form, means None."""
    if not values:
        return None
    return [values] if isinstance(values, str) else list(values)


def _describe(error: Any) -> str:
    """One line about one error, such as `batch_size must be greater than or equal to 1, not 0`."""
    name, *inner = error["loc"] or ("",)
    reason = error.get("ctx", {}).get("error")
    if isinstance(reason, ValueError):
        return f"{argument(name)}: {reason}" if name else str(reason)
    if error["type"] == "extra_forbidden" and not inner:
        # the version, since a run may be started by another one than that of its worker
        return f"there is no option {name!r} in prefect-cvat {version('prefect-cvat')}"
    where = "".join(f"[{part!r}]" for part in inner)
    if name == "conf_threshold" and error["type"] in ("greater_than_equal", "less_than_equal"):
        what = "must be None or a number between 0 and 1"  # the words of the CVAT SDK
    elif error["type"] == "greater_than_equal":
        what = f"must be {error['ctx']['ge']:g} or more"
    else:
        what = error["msg"].replace("Input should be", "must be").replace("Input should", "must")
    return f"{argument(str(name))}{where} {what}, not {_short(error['input'])}"


def _short(value: object, max_length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= max_length else f"{text[:max_length]}..."
