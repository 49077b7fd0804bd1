"""Detections of a whole task put together to tracks: over real HTTP, written exactly once, job by job."""

from types import SimpleNamespace

import pytest

from clips import clip, number_on, numbered_picture
from prefect_cvat import TrackOptions, track_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle, tag
from prefect_cvat.exceptions import BadFunctionError, UnsupportedTaskError
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.upload import job_writer as upload

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7)])
FRAMES = 24
PLAIN = TrackOptions(fill_gap=0, min_length=1, max_gap=3)


def box(number):
    """The position of the car on a frame: it moves right, and turns back after frame 12."""
    x = 3 * min(number, 24 - number)
    return [x, 20, x + 40, 50]


def driver(gone=(), calls=None):
    """A function that finds the car on every frame except those where it is gone."""

    def detect(context, image):
        number = number_on(image)
        if calls is not None:
            calls.append(number)
        return [] if number in gone else [rectangle(7, box(number))]

    return SimpleNamespace(spec=SPEC, detect=detect, version=str(sorted(gone)))


@pytest.fixture
def task_id(video_task):
    """Four jobs; CVAT makes jobs of a video overlap by five frames."""
    return video_task(clip(range(FRAMES)), segment_size=10)


def tracks(client, task_id):
    return {
        (job.start_frame, job.stop_frame): client.job_annotations(job.id).tracks
        for job in client.jobs(task_id)
        if job.type == "annotation"
    }


def shown(track, first, last):
    """The frames of a job on which a track can be seen, and its points there."""
    shapes = {frame: interpolate(track, frame) for frame in range(first, last + 1)}
    return {frame: shape["points"] for frame, shape in shapes.items() if shape is not None}


@pytest.mark.parametrize("frames_per_batch", [1, 100])
def test_each_job_gets_its_part_of_a_track(client, task_id, frames_per_batch):
    report = track_task(client, task_id, driver(), frames_per_batch=frames_per_batch, track_options=PLAIN)
    found = tracks(client, task_id)
    assert list(found) == [(0, 9), (5, 14), (10, 19), (15, 23)]
    for (first, last), of_job in found.items():
        [track] = of_job
        assert track["source"] == "auto"
        points = shown(track, first, last)
        assert list(points) == list(range(first, last + 1))
        assert all(points[n] == pytest.approx(box(n), abs=2) for n in points)
        assert all(first <= shape["frame"] <= last for shape in track["shapes"])
    assert (report.tracks, report.track_frames, report.untracked) == ({"car": 1}, FRAMES, 0)
    assert report.keyframes == sum(len(track["shapes"]) for [track] in found.values())
    assert report.labels == {"car": FRAMES}


def test_track_is_outside_where_the_object_is_not_detected(client, video_task):
    task_id = video_task(clip(range(FRAMES)))
    track_task(client, task_id, driver(gone=[0, 1, 9, 10, 20, 21, 22, 23]), track_options=PLAIN)
    [[track]] = tracks(client, task_id).values()
    assert sorted(shown(track, 0, 23)) == [*range(2, 9), *range(11, 20)]


def test_second_run_detects_and_adds_nothing(client, task_id):
    track_task(client, task_id, driver(), track_options=PLAIN)
    before = tracks(client, task_id)
    calls = []
    report = track_task(client, task_id, driver(calls=calls), track_options=PLAIN)
    assert (calls, report.added, report.already_there) == ([], 0, 4)
    assert tracks(client, task_id) == before


def test_other_options_replace_tracks_of_runs_and_keep_manual_ones(client, task_id):
    track_task(client, task_id, driver(), track_options=PLAIN)
    job = client.jobs(task_id)[0]
    label = client.labels(task_id)[0]
    mine = {"type": "rectangle", "label_id": label.id, "source": "manual", "points": [1, 1, 9, 9], "frame": 3}
    keyframe = {key: mine[key] for key in ("type", "points", "frame")} | {"outside": False}
    drawn = {"frame": 3, "label_id": label.id, "source": "manual", "shapes": [keyframe]}
    client.create_job_annotations(job.id, {"version": 0, "tags": [], "shapes": [mine], "tracks": [drawn]})
    before = client.job_annotations(job.id)
    report = track_task(client, task_id, driver(gone=[3]), existing="replace_auto", track_options=PLAIN)
    after = client.job_annotations(job.id)
    assert after.shapes == before.shapes
    assert [t for t in after.tracks if t["source"] == "manual"] == [
        t for t in before.tracks if t["source"] == "manual"
    ]
    [track] = [t for t in after.tracks if t["source"] == "auto"]
    assert 3 not in shown(track, 0, 9)
    # the other jobs have equal tracks already, so they are not written again
    assert (report.added, report.already_there, report.removed) == (1, 3, 1)


def test_only_every_nth_frame_is_processed(client, task_id):
    calls = []
    options = TrackOptions(step=3, tolerance=0.5, min_length=1, fill_gap=0)
    report = track_task(client, task_id, driver(calls=calls), track_options=options)
    assert calls == list(range(0, FRAMES, 3))
    assert report.frames == 8
    for (first, last), [track] in tracks(client, task_id).items():
        points = shown(track, first, last)
        assert list(points) == [n for n in range(first, last + 1) if n <= 21]
        assert all(points[n] == pytest.approx(box(n), abs=0.5) for n in points)


def test_drops_objects_found_too_seldom(client, video_task):
    task_id = video_task(clip(range(FRAMES)))
    options = TrackOptions(min_length=5, max_gap=2, fill_gap=0)
    report = track_task(client, task_id, driver(gone=[3, 4, 5, 6]), track_options=options)
    [[track]] = tracks(client, task_id).values()
    assert sorted(shown(track, 0, 23)) == list(range(7, 24))
    assert (report.tracks, report.untracked) == ({"car": 1}, 3)


def test_tags_are_written_as_tags(client, video_task):
    task_id = video_task(clip(range(6)))
    function = SimpleNamespace(spec=SPEC, detect=lambda context, image: [tag(7)])
    report = track_task(client, task_id, function)
    [job] = client.jobs(task_id)
    data = client.job_annotations(job.id)
    assert [item["frame"] for item in data.tags] == list(range(6))
    assert (data.shapes, data.tracks, report.tracks) == ([], [], {})


def test_frames_and_jobs_can_be_chosen(client, task_id):
    job = client.jobs(task_id)[1]
    track_task(client, task_id, driver(), frames=range(2, 13), jobs=[job.id], track_options=PLAIN)
    found = tracks(client, task_id)
    assert [bool(of_job) for of_job in found.values()] == [False, True, False, False]
    assert sorted(shown(found[5, 14][0], 5, 14)) == list(range(5, 13))


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 504, "when": "after"},
        {"kind": "status", "status": 502, "when": "before"},
        {"kind": "reset", "when": "after"},
    ],
    ids=str,
)
def test_writes_tracks_once_if_responses_are_lost(client, sandbox, task_id, fault, monkeypatch):
    monkeypatch.setattr(upload.JobWriter, "retry_delay", 0.01)
    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", "0.1")
    rule = {"methods": ["PATCH"], "path": "/annotations$", "fault": fault, "times": 2}
    sandbox.faults.set([rule], seed=1)
    try:
        report = track_task(client, task_id, driver(), track_options=PLAIN)
    finally:
        sandbox.faults.clear()
    assert [len(of_job) for of_job in tracks(client, task_id).values()] == [1, 1, 1, 1]
    assert report.added == 4


def test_bad_function_leaves_nothing_in_the_task(client, video_task):
    task_id = video_task(clip(range(FRAMES)))

    def detect(context, image):
        number = number_on(image)
        if number == 20:
            return [rectangle(9, box(number))]  # a label that it has not declared
        # a new car with every other frame, so that tracks have ended and been written by then
        return [rectangle(7, [(number // 2 % 2) * 80, 20, (number // 2 % 2) * 80 + 40, 50])]

    function = SimpleNamespace(spec=SPEC, detect=detect)
    options = TrackOptions(max_gap=1, min_length=1, fill_gap=0)
    with pytest.raises(BadFunctionError, match="frame 20"):
        track_task(client, task_id, function, frames_per_batch=4, track_options=options)
    assert list(tracks(client, task_id).values()) == [[]]


def test_task_with_a_ground_truth_pool_is_refused_before_chunks_are_fetched(client, make_pool_task):
    calls = []
    with pytest.raises(UnsupportedTaskError, match="has a ground-truth pool"):
        track_task(client, make_pool_task(), driver(calls=calls))
    assert calls == []


@pytest.fixture
def make_pool_task(sdk, tmp_path):
    def make():
        files = []
        for number in range(8):
            files.append(tmp_path / f"{number}.png")
            numbered_picture(number).save(files[-1])
        validation = {
            "mode": "gt_pool",
            "frame_selection_method": "random_uniform",
            "frame_count": 3,
            "frames_per_job_count": 1,
        }
        parameters = {"sorting_method": "random", "validation_params": validation}
        spec = {"name": "pool", "labels": [{"name": "car"}], "segment_size": 4}
        return sdk.tasks.create_from_data(spec, files, data_params=parameters).id

    return make
