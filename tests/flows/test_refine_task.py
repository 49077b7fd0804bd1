"""The flow that refines, on a real Prefect server, against the sandbox over HTTP, with GrabCut on a photograph."""

import io

import PIL.Image
import pytest
import skimage.data

from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.flows.refine_task import refine_task
from prefect_cvat.options.refine_options import RefineOptions
from task_runs import stages_of

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]


def test_boxes_become_polygons(credentials, client):
    pytest.importorskip("cv2", reason="OpenCV, the extra `video`, is not installed")
    photo = io.BytesIO()
    PIL.Image.fromarray(skimage.data.astronaut()).save(photo, "JPEG")
    task_id = client.create_task("a photograph", [label_spec("person", None)]).id
    client.upload_images(task_id, {"astronaut.jpg": photo.getvalue()})
    [job] = client.jobs(task_id)
    [person] = client.labels(task_id)
    astronaut = {"type": "rectangle", "frame": 0, "label_id": person.id, "points": [60, 5, 440, 510]}
    client.create_job_annotations(
        job.id, {"shapes": [{**astronaut, "source": source} for source in ("manual", "auto")]}
    )

    report = refine_task(task_id, credentials, refine_options=RefineOptions(to="polygon", sources=["manual"]))

    kinds = {(shape["type"], shape["source"]) for shape in client.job_annotations(job.id).shapes}
    assert kinds == {("polygon", "semi-auto"), ("rectangle", "auto")}
    assert (report.refined, report.removed) == (1, 1)

    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as prefect:
        [run] = prefect.read_flow_runs(limit=1, sort=FlowRunSort.START_TIME_DESC)
    assert run.name == f"refine task {task_id} with grabcut_interaction"
    assert run.state.message == "1 added on 1 frame, 1 removed"
    assert stages_of(run) == {"plan task", "batch 0", "finish upload"}
    assert run.state_name == "Completed"


def test_form_describes_every_parameter():
    parameters, definitions = refine_task.parameters.properties, refine_task.parameters.definitions
    for name, parameter in parameters.items():  # a group has its own description
        group = definitions.get(parameter.get("$ref", "").rpartition("/")[2], {})
        parameter["description"] = parameter.get("description") or group.get("description")
        assert parameter["description"], name
    assert not any("\n" in parameter["description"] for parameter in parameters.values())
    refine_options = refine_task.parameters.definitions["RefineOptions"]["properties"]
    assert refine_options["to"]["enum"] == ["mask", "polygon"]
    assert parameters["function"]["default"] == "grabcut_interaction"
