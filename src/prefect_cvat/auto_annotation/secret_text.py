"""Text that is secret, such as the key of an API, as a function gets it."""

from __future__ import annotations

from dataclasses import dataclass

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
    """A secret that can be used as any text, and that `repr` does not give away.

    So it is neither in what is logged of an object that holds it, nor in the digest of a function: that has
    the name of the block instead, and stays as it is when the secret is changed.

    Args:
        value: The secret.
        reference: Where it is kept.
    """

    __slots__ = ("reference",)

    reference: SecretReference

    def __new__(cls, value: str, reference: SecretReference) -> SecretText:  # noqa: D102 (see the class)
        text = super().__new__(cls, value)
        text.reference = reference
        return text

    def __repr__(self) -> str:
        return str(self.reference)

    def __getnewargs__(self) -> tuple[str, SecretReference]:  # type: ignore[override]
        return str(self), self.reference
