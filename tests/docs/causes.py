"""What the causes of messages in docs/troubleshooting.md share."""

from collections.abc import Callable
from types import SimpleNamespace

from prefect_cvat import Client
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec

Cause = Callable[[SimpleNamespace], object]


class Causes(list[Cause]):
    """The causes of the messages of a part of the page, in its order; decorates the functions that raise them."""

    def __call__(self, reproduce: Cause) -> Cause:
        self.append(reproduce)
        return reproduce


def connect(given, **options):
    client = Client(given.url, **options)
    client.login(("admin", "admin"))
    return client


def annotator_of(given, job):
    """A user who is assigned a job, but not its task."""
    client = Client(given.url)
    body = {"username": f"annotator{job}", "password1": "p", "password2": "p"}
    client._transport.json("POST", "/api/auth/register", body=body, anonymous=True)
    client.login((body["username"], "p"))
    given.client.json("PATCH", f"/api/jobs/{job}", body={"assignee": client.user().id})
    return client


def function(detect=lambda context, image: [], label="person", label_type="rectangle"):
    spec = DetectionFunctionSpec(labels=[label_spec(label, 0, type=label_type)])
    return SimpleNamespace(spec=spec, detect=detect)
