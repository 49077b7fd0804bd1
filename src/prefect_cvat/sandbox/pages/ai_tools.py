"""The "AI tools" of the page of a frame: annotators' functions, called by a script in the browser."""

import json
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from prefect_cvat.sandbox.pages.svg import LabelStyle

SCRIPT = "/static/ai-tools.js"
MASK_TYPES = ("any", "mask")
"""The types of labels that the mask of an interactor can have."""


def panel(job: int, frame: int, styles: Mapping[int, LabelStyle], *, has_gateway: bool) -> str:
    """The HTML of the tools, for a page with the frame in an element `frame`.

    Args:
        job: The job.
        frame: The number of the frame.
        styles: The labels of the task by id.
        has_gateway: Whether functions can be called at all.
    """
    if not has_gateway:
        return (
            "<p class='faint'>AI tools: start the sandbox with <code>--nuclio-host 127.0.0.1</code>"
            " to call functions here.</p>"
        )
    labels = json.dumps([{"id": number, "color": style.color} for number, style in styles.items()])
    options = "".join(
        f"<option value='{number}'>{escape(style.name)}</option>"
        for number, style in styles.items()
        if style.type in MASK_TYPES and not style.is_keypoint
    )
    return (
        f"<section id='ai-tools' data-job='{job}' data-frame='{frame}' data-labels='{escape(labels)}'>"
        "<strong>AI tools</strong>"
        "<label>function <select name='function'></select></label>"
        f"<label data-part='labels' hidden>label <select name='label'>{options}</select></label>"
        "<button name='detect' hidden>Detect on this frame</button>"
        "<button name='accept' disabled>Accept</button>"
        "<button name='discard' disabled>Discard</button>"
        "<output name='said'></output>"
        "<form name='login' hidden><label>user <input name='user' autocomplete='username'></label>"
        "<label>password <input name='password' type='password' autocomplete='current-password'></label>"
        "<button>Log in</button></form>"
        f"</section><script src='{SCRIPT}' defer></script>"
    )


def script(_request: Request) -> Response:
    """GET /static/ai-tools.js."""
    return Response(_script(), media_type="text/javascript")


@cache
def _script() -> bytes:
    return files("prefect_cvat.sandbox.pages").joinpath("ai_tools.js").read_bytes()
