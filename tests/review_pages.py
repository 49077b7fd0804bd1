"""What is on a page to review frames."""

import json
import re
from pathlib import Path
from typing import Any


def content_of(page: Path | str) -> dict[str, Any]:
    """The content that the script of a page works with."""
    text = page if isinstance(page, str) else page.read_text(encoding="utf-8")
    [content] = re.findall(r'<script type="application/json" id="content">(.*?)</script>', text)
    return json.loads(content)


def frames_of(page: Path | str) -> list[tuple[int, str, int]]:
    """The number, the name and the number of shapes of each frame, in the order of the page."""
    return [(frame["number"], frame["name"], frame["count"]) for frame in content_of(page)["frames"]]


def captions_of(page: Path | str) -> list[list[str]]:
    """The kind, label, score and note of the shapes of each frame."""
    content = content_of(page)
    return [
        [
            " ".join(
                str(part)
                for part in (content["kinds"][kind]["name"], content["labels"][label]["name"], score, note)
                if part not in (None, "")
            )
            for label, kind, _, score, _, _, note in frame["shapes"]
        ]
        for frame in content["frames"]
    ]
