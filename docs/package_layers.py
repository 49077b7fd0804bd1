"""Draws docs/images/packages.svg: the packages of the library, by the import layers in pyproject.toml.

Run `python docs/package_layers.py` after a change of the layers or of the docstring of a package.
"""

from __future__ import annotations

import ast
import re
import tomllib
from html import escape
from pathlib import Path

__all__ = ["PICTURE", "draw"]

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "packages.svg"
LIBRARY = "prefect_cvat"
ROW, WIDTH, NAMES = 26, 900, 250
"""Height of a row, width of the picture and width of the column of names, in pixels."""


def draw() -> str:
    """Draw one row for each layer, from the top to the bottom.

    Returns:
        The picture as SVG text.

    Raises:
        FileNotFoundError: A layer is neither a package nor a module.
    """
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    contracts = configuration["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract.get("containers") == [LIBRARY])
    folders = {name: ROOT / folder for name, folder in configuration["setuptools"]["package-dir"].items()}
    rows = [
        (name, _source(name, folders)) for layer in layers for name in sorted(re.split(r"\s*[:|]\s*", layer))
    ]
    height = ROW * len(rows) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        "<title>Packages of prefect_cvat: each imports only from those below it</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for index, (name, source) in enumerate(rows):
        lines += _row(5 + index * ROW, name, source)
    return "\n".join([*lines, "</svg>", ""])


def _source(name: str, folders: dict[str, Path]) -> Path:
    """The file with the docstring of a package or module."""
    folder = folders.get(f"{LIBRARY}.{name}", folders[LIBRARY] / name)
    package, module = folder / "__init__.py", folder.with_suffix(".py")
    if not package.is_file() and not module.is_file():
        raise FileNotFoundError(f"the layer {name!r} in pyproject.toml is neither {package} nor {module}")
    return package if package.is_file() else module


def _row(top: int, name: str, source: Path) -> list[str]:
    is_package = source.name == "__init__.py"
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    purpose = docstring.partition("\n")[0].replace("`", "")
    fill = "#dbe4ff" if is_package else "#f1f3f5"
    text = f'y="{top + 16}" font-size="13"'
    return [
        f'<rect x="5" y="{top}" width="{NAMES - 10}" height="{ROW - 4}" rx="4" fill="{fill}"/>',
        f'<text x="14" {text} font-family="monospace">{escape(name)}{"" if is_package else ".py"}</text>',
        f'<text x="{NAMES + 5}" {text} fill="#333">{escape(purpose)}</text>',
    ]


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
