"""A task with a ground-truth pool, whose frames CVAT shows again in the jobs."""

from pictures import picture
from prefect_cvat import Client
from prefect_cvat.auto_annotation import label_spec


def create_pool_task(client: Client) -> int:
    """Create a task of 8 images with the label car: 3 of them are the pool, jobs have 5 and one of the pool."""
    task = client.create_task("a pool", [label_spec("car", None)], segment_size=5)
    pool = {"mode": "gt_pool", "frame_selection_method": "random_uniform", "frame_count": 3}
    client.upload_images(
        task.id,
        {f"{i:04}.png": picture(seed=i) for i in range(8)},
        sorting_method="random",
        validation_params={**pool, "frames_per_job_count": 1},
    )
    return task.id
