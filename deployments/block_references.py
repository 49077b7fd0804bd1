"""References to blocks as values of parameters, by name or by id."""

from __future__ import annotations

from typing import Any

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from prefect_cvat.credentials import CvatCredentials

__all__ = ["block_reference", "credentials_reference", "name_blocks_by_id"]


def credentials_reference(name: str) -> dict[str, Any]:
    """A reference to a block with credentials by its name, as the value of a parameter."""
    return block_reference(CvatCredentials, name)


def name_blocks_by_id(parameters: dict[str, Any]) -> dict[str, Any]:
    """Replace references to blocks by name with references by id: Prefect's form shows only those.

    A reference to a block that does not exist is kept.
    """
    return {name: _by_id(value) for name, value in parameters.items()}


def _by_id(value: Any) -> Any:
    reference = value.get("$ref") if isinstance(value, dict) else None
    if not isinstance(reference, dict) or "block_document_slug" not in reference:
        return value
    block_type, _, name = reference["block_document_slug"].partition("/")
    with get_client(sync_client=True) as client:
        try:
            document = client.read_block_document_by_name(name, block_type)
        except ObjectNotFound:
            return value
    return {"$ref": {"block_document_id": str(document.id)}}


def block_reference(block: type[Block], name: str) -> dict[str, Any]:
    """A reference to a block by its name, as the value of a parameter."""
    return {"$ref": {"block_document_slug": f"{block.get_block_type_slug()}/{name}"}}
