"""The structure of the sandbox. `make types` checks its layers."""

import ast
from pathlib import Path

import prefect_cvat.sandbox

FOLDER = Path(prefect_cvat.sandbox.__file__).parent


def test_has_no_type_checking_imports() -> None:
    # import-linter ignores these, so they could hide circular imports
    hidden = [
        path.relative_to(FOLDER).as_posix()
        for path in FOLDER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name) and node.id == "TYPE_CHECKING"
    ]
    assert hidden == []
