"""Video tasks, created by the official SDK in the sandbox, annotated over real HTTP.

Each frame of the small clips shows its number in the source, and the function reads it: an annotation
on the wrong frame is detected.
"""

import io
from types import SimpleNamespace

import pytest

from clips import SPEC, clip, number_on, numbers_found, reader
from media.prefetching import prefetching_threads
from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from served_chunks import chunk_of

av = pytest.importorskip("av", reason="PyAV, which videos need, is not installed")

CLIPS = {
    "plain": ({}, {}, range(30)),
    "pictures that are stored in another order": ({"bf": 3, "g": 8, "b-pyramid": "normal"}, {}, range(30)),
    "every picture a keyframe": ({"g": 1}, {}, range(30)),
    "a rate that varies": ({"times": [i * i + 7 * i for i in range(30)], "bf": 2}, {}, range(30)),
    "rotation metadata": ({"turned": True}, {}, range(30)),
    "odd sides": ({"size": (161, 63)}, {}, range(30)),
    "step": ({}, {"frame_step": 3}, range(0, 30, 3)),
    "start": ({}, {"start_frame": 5}, range(5, 30)),
    "start, stop and step": (
        {"bf": 3},
        {"start_frame": 2, "stop_frame": 24, "frame_step": 4},
        range(2, 25, 4),
    ),
    "one frame": ({}, {"start_frame": 29}, range(29, 30)),
    "a chunk that is not full": ({}, {"chunk_size": 16}, range(30)),
    "a chunk that is longer than the video": ({}, {"chunk_size": 100}, range(30)),
}


@pytest.mark.parametrize(("encoding", "parameters", "expected"), CLIPS.values(), ids=CLIPS)
def test_detections_are_written_to_their_frames(client, video_task, encoding, parameters, expected):
    task_id = video_task(clip(range(30), **encoding), **parameters)

    report = annotate_task(client, task_id, reader())

    assert numbers_found(client, task_id) == dict(enumerate(expected))
    assert report.frames == len(expected)
    sizes = {(frame.width, frame.height) for frame in client.meta(task_id).frames}
    assert sizes == {encoding.get("size", (160, 64))}


def test_sandbox_chunks_are_rotated_upright_like_those_of_cvat(client, video_task):
    task_id = video_task(clip(range(6), turned=True))
    data = chunk_of(client, task_id, 0)
    with av.open(io.BytesIO(data)) as container:
        pictures = list(container.decode(video=0))
    assert [(p.width, p.height, p.rotation) for p in pictures] == [(160, 64, 0)] * 4
    assert [number_on(p.to_image()) for p in pictures] == [0, 1, 2, 3]


def test_only_selected_frames_are_decoded(client, video_task):
    task_id = video_task(clip(range(20), bf=2))
    annotate_task(client, task_id, reader(), frames=[1, 3, 10, 19])
    assert numbers_found(client, task_id) == {1: 1, 3: 3, 10: 10, 19: 19}


def test_frames_in_two_jobs_are_written_to_both(client, video_task):
    task_id = video_task(clip(range(20)), segment_size=10)  # CVAT overlaps videos by 5 frames
    annotate_task(client, task_id, reader())
    by_job = {
        job.start_frame: [
            (s["frame"], round(s["points"][2]) - 1) for s in client.job_annotations(job.id).shapes
        ]
        for job in client.jobs(task_id)
    }
    assert by_job == {start: [(i, i) for i in range(start, min(start + 10, 20))] for start in (0, 5, 10)}


def test_deleted_frames_keep_their_place(client, video_task):
    task_id = video_task(clip(range(10)))
    client._transport.json("PATCH", f"/api/tasks/{task_id}/data/meta", body={"deleted_frames": [0, 5]})
    annotate_task(client, task_id, reader())
    assert numbers_found(client, task_id) == {i: i for i in range(10) if i not in (0, 5)}


def test_a_spec_may_have_more_labels_than_the_task(client, video_task):
    task_id = video_task(clip(range(4)))
    function = SimpleNamespace(
        spec=DetectionFunctionSpec(labels=[label_spec("car", 7), label_spec("bus", 8)]),
        detect=reader().detect,
    )
    annotate_task(client, task_id, function, allow_unmatched_labels=True)
    assert numbers_found(client, task_id) == {i: i for i in range(4)}


def test_a_function_that_takes_several_images_and_fails_on_one(client, video_task):
    task_id = video_task(clip(range(12)), chunk_size=12)

    def detect_batch(contexts, images):
        numbers = list(map(number_on, images))
        if 7 in numbers:
            raise ZeroDivisionError("oh no")
        return [[rectangle(7, [0, 0, 1 + number, 5])] for number in numbers]

    function = SimpleNamespace(spec=SPEC, detect_batch=detect_batch, batch_size=5)
    report = annotate_task(client, task_id, function, on_frame_error="skip")

    assert numbers_found(client, task_id) == {i: i for i in range(12) if i != 7}
    assert list(report.frame_errors) == [7]
    assert not prefetching_threads()


def test_failed_function_stops_reading(client, video_task):
    task_id = video_task(clip(range(40)), chunk_size=40)

    def detect(context, image):
        raise ZeroDivisionError("oh no")

    with pytest.raises(ValueError, match="frame 0 .*oh no"):
        annotate_task(client, task_id, SimpleNamespace(spec=SPEC, detect=detect))
    assert not prefetching_threads()


def test_frames_equal_those_shown_by_the_server(client, sdk, video_task, test_data):
    data = (test_data / "video" / "pedestrians.mp4").read_bytes()
    task_id = video_task(data, name="pedestrians.mp4", chunk_size=36)
    wanted = [0, 35, 36, 100, 149]
    seen = {}

    def detect(context, image):
        seen[len(seen)] = image.convert("RGB")
        return []

    annotate_task(client, task_id, SimpleNamespace(spec=SPEC, detect=detect), frames=wanted)

    import numpy as np
    import PIL.Image

    shown = [PIL.Image.open(sdk.tasks.retrieve(task_id).get_frame(number)) for number in wanted]
    shown = [np.asarray(image.convert("RGB"), dtype=float) for image in shown]
    for index in range(len(wanted)):
        image = np.asarray(seen[index], dtype=float)
        distances = [abs(image - other).mean() for other in shown]
        assert distances[index] < 4, "the chunk is encoded anew, so pixels differ a little"
        assert min(range(len(wanted)), key=distances.__getitem__) == index


def test_people_are_found_in_a_real_video(client, sdk, test_data):
    from prefect_cvat.auto_annotation.loading import load_function

    task = sdk.tasks.create_from_data(
        {"name": "pedestrians", "labels": [{"name": "person"}]},
        [test_data / "video" / "pedestrians.mp4"],
        data_params={"image_quality": 70, "frame_step": 30},
    )
    report = annotate_task(client, task.id, load_function("nanodet_detection"), allow_unmatched_labels=True)
    frames = {s["frame"] for job in client.jobs(task.id) for s in client.job_annotations(job.id).shapes}
    assert report.frames == 5
    assert frames == set(range(5))
