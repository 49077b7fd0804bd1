"""`cvat-cli task auto-annotate`, as users call it, with our functions."""

import skimage.data

from for_cvat_sdk.conftest import png
from prefect_cvat.auto_annotation import label_spec

OURS = ("--function-module", "prefect_cvat.for_cvat_sdk")


def test_built_in_function(cvat_cli, client):
    task = client.create_task("cats", [label_spec("cat", None), label_spec("dog", None)])
    client.upload_images(task.id, {"cat.png": png(skimage.data.chelsea())})
    done = cvat_cli(
        "task",
        "auto-annotate",
        task.id,
        *OURS,
        "-p",
        "name=str:nanodet_detection",
        "--allow-unmatched-labels",
    )
    assert done.returncode == 0, done.stderr
    [cat] = client.task_annotations(task.id).shapes
    assert (cat["type"], cat["source"]) == ("rectangle", "auto")
    assert 0.4 < cat["score"] < 1
