"""Secret text, such as an API key, as a function gets it."""

from __future__ import annotations

from dataclasses import dataclass

from prefect_cvat.messages.secret_values import remember_secret

__all__ = ["SecretReference", "SecretText"]


@dataclass(frozen=True)
class SecretReference:
    """A reference to a secret in the Prefect block `secret/NAME`.

    Attributes:
        name: The name of the block.
    """

    name: str

    def __str__(self) -> str:
        return f"secret:{self.name}"


class SecretText(str):
    """A secret that can be used as a str, but is hidden by `repr`.

    So it appears neither in logged objects nor in the digest of a function. The digest has the name of the
    block instead, and does not change with the secret. Messages of errors hide it, too.

    Args:
        value: The secret.
        reference: Its Prefect block.
    """

    __slots__ = ("reference",)

    reference: SecretReference

    def __new__(cls, value: str, reference: SecretReference) -> SecretText:  # noqa: D102 (see the class)
        text = super().__new__(cls, value)
        text.reference = reference
        remember_secret(value)
        return text

    def __repr__(self) -> str:
        return str(self.reference)

    def __getnewargs__(self) -> tuple[str, SecretReference]:  # type: ignore[override]
        return str(self), self.reference
