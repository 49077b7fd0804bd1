"""Large images: the memory that decoding may take by default depends on the libraries that a run loads."""

import io
from types import SimpleNamespace

import PIL.ExifTags
import PIL.Image
import pytest

from prefect_cvat import annotate_task, track_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import MediaError
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.rendering.preview import open_image_files

LARGE = (7200, 5000)  # 144 MB decoded: more than 136 MiB, less than 192 MiB


@pytest.fixture
def task_id(client):
    """A task with one large image."""
    buffer = io.BytesIO()
    PIL.Image.new("L", LARGE).save(buffer, "JPEG")
    task = client.create_task("a large image", [label_spec("car", None)])
    client.upload_images(task.id, {"0.jpg": buffer.getvalue()})
    return task.id


def detect(context, image):
    image.load()
    return [rectangle(0, [1, 2, 30, 40])]


FUNCTION = SimpleNamespace(spec=DetectionFunctionSpec(labels=[label_spec("car", 0)]), detect=detect)


def test_track_refuses_larger_images_than_annotate_unless_the_limit_is_set(client, task_id, monkeypatch):
    with pytest.raises(MediaError, match=r"7200x5000 .* more than 142606336 .*PREFECT_CVAT_MAX_IMAGE_BYTES"):
        track_task(client, task_id, FUNCTION)
    assert client.task_annotations(task_id).tracks == []
    assert annotate_task(client, task_id, FUNCTION).added == 1
    monkeypatch.setenv("PREFECT_CVAT_MAX_IMAGE_BYTES", str(192 * 2**20))
    track_task(client, task_id, FUNCTION, track_options=TrackOptions(min_length=1))
    assert len(client.task_annotations(task_id).tracks) == 1


@pytest.mark.parametrize(("orientation", "is_refused"), [(1, False), (6, True)])
def test_preview_counts_the_copy_of_a_rotated_file(tmp_path, orientation, is_refused):
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = orientation
    path = tmp_path / "photo.jpg"
    PIL.Image.new("L", LARGE).save(path, exif=exif)
    if is_refused:
        with pytest.raises(
            MediaError, match=r"photo.jpg' \(rotated\) of 7200x5000 pixels takes up to 288000000"
        ):
            open_image_files({0: path})
    else:
        assert next(open_image_files({0: path}))[1].size == LARGE
