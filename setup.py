"""What pyproject.toml cannot say: the page of the package index, with links to the repository.

`make dist REPOSITORY=https://HOST/OWNER/NAME` builds a release. Its README has absolute links, to the tag of
the version. Without that address, as for `pip install .`, the README is as it is.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]+)\]\((?P<path>[^):#][^):]*)\)")
"""A link to a file of the repository. Links with a scheme, or to a heading of the page, are not matched."""


def absolute_links(markdown: str, repository: str, version: str) -> str:
    """The text with links to files of the repository at a version, on GitHub and GitLab alike."""

    def replace(link: re.Match[str]) -> str:
        kind = "raw" if link["image"] else "blob"
        return f"{link['image']}[{link['text']}]({repository}/{kind}/v{version}/{link['path']})"

    return LINK.sub(replace, markdown)


def main() -> None:
    """Build what is asked for on the command line."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    repository = os.environ.get("PREFECT_CVAT_REPOSITORY", "").rstrip("/")
    urls = {}
    if repository:
        version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        readme = absolute_links(readme, repository, version)
        tree = f"{repository}/blob/v{version}"
        urls = {
            "Repository": repository,
            "Documentation": f"{tree}/docs/index.md",
            "Changelog": f"{tree}/CHANGELOG.md",
            "Issues": f"{repository}/issues",
        }
    setup(long_description=readme, long_description_content_type="text/markdown", project_urls=urls)


if __name__ == "__main__":
    main()
