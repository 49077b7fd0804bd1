"""Loads the function of an entry of the configuration, and identifies what it is made of."""

from __future__ import annotations

import hashlib
import json
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prefect_cvat.auto_annotation.function_for_task import make_function
from prefect_cvat.auto_annotation.loading import (
    find_function,
    load_function,
    load_function_file,
    load_function_module,
)
from prefect_cvat.auto_annotation.secret_text import SecretReference
from prefect_cvat.exceptions import PrefectCvatError
from prefect_cvat.gateway.configuration import ServedFunction
from prefect_cvat.inference.function_digest.module_search import find_module

__all__ = ["load_served_function", "source_digest"]

_LOADING = threading.Lock()
"""One loading at a time: two models together may need more memory than one after the other."""


def load_served_function(entry: ServedFunction) -> Any:
    """Load the function of an entry; waits while another one is being loaded.

    Raises:
        FunctionLoadError: It cannot be made, or a block of a secret does not exist.
        BadFunctionError: It has no `spec`.
    """
    parameters = entry.create_parameters
    with _LOADING:
        if not any(isinstance(value, SecretReference) for value in parameters.values()):
            return _load(entry, parameters)
        from prefect_cvat.deployments.prefect_server import prefect_server
        from prefect_cvat.secret_parameters import secrets_hidden, with_secrets

        with prefect_server():
            parameters = with_secrets(parameters)
        with secrets_hidden(parameters):
            return _load(entry, parameters)


def _load(entry: ServedFunction, parameters: dict[str, Any]) -> Any:
    return make_function(_load_any(entry, parameters), prompts=entry.prompts)


def _load_any(entry: ServedFunction, parameters: dict[str, Any]) -> Any:
    if entry.function_module is not None:
        return load_function_module(entry.function_module, parameters)
    if entry.function_file is not None:
        return load_function_file(entry.function_file, parameters)
    return load_function(entry.function or "", parameters)


def source_digest(entry: ServedFunction) -> str:
    """Identify what a function is made of: its code, its parameters and files that they name.

    Modules that the function imports are not included.

    Returns:
        64 hexadecimal digits.
    """
    files = [Path(value.partition(":")[2]) for value in entry.function_parameters.values() if _is_text(value)]
    parts = [
        version("prefect-cvat"),
        entry.function,
        entry.function_module,
        str(entry.function_file),
        _code_digest(entry),
        entry.function_parameters,
        entry.create_arguments,
        entry.prompts,
        [[str(file), *_stamp(file)] for file in files],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.startswith("str:")


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except (OSError, ValueError):
        return ()
    return status.st_size, status.st_mtime_ns


def _code_digest(entry: ServedFunction) -> str:
    file = entry.function_file
    if file is None:
        try:
            spec = find_module(entry.function_module or find_function(entry.function or ""))
        except (PrefectCvatError, ImportError, ValueError):  # loading it says what is wrong
            return ""
        if spec is None or spec.origin is None:
            return ""
        file = Path(spec.origin)
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
