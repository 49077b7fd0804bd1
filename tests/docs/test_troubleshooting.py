"""docs/troubleshooting.md: every message in its tables occurs, for the causes in docs/causes_*.py."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from docs import causes_at_the_server, causes_in_the_function, causes_in_the_task
from docs.causes import function
from pictures import picture
from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation import BadFunctionError, label_spec, rectangle
from prefect_cvat.exceptions import PrefectCvatError

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
CAUSES = [*causes_at_the_server.cause, *causes_in_the_task.cause, *causes_in_the_function.cause]

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def given(sandbox, tmp_path_factory):
    """A client, a task of one image and a folder, for the causes."""
    with Client(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        task = client.create_task("a task", [label_spec("person", None)])
        client.upload_images(task.id, {"one.png": picture()})
        folder = tmp_path_factory.mktemp("functions")
        yield SimpleNamespace(
            client=client, url=sandbox.url, task=task.id, folder=folder, faults=sandbox.faults
        )


@pytest.mark.parametrize(("message", "reproduce"), list(zip(MESSAGES, CAUSES, strict=True)))
def test_each_message_occurs_for_its_cause(message, reproduce, given):
    with pytest.raises((PrefectCvatError, ValueError)) as caught:
        reproduce(given)
    pattern = ".*".join(map(re.escape, message.split("...")))
    assert re.fullmatch(pattern, str(caught.value), re.DOTALL), str(caught.value)


def test_no_annotations_of_invalid_functions_remain(client, make_task):
    task_id = make_task(3)

    def detect(context, image):
        if context.frame_name == "0002.png":
            raise ZeroDivisionError
        return [rectangle(0, [0, 0, 5, 5])]

    with pytest.raises(BadFunctionError):
        annotate_task(client, task_id, function(detect))
    assert client.task_annotations(task_id).shapes == []
