"""Tracks of a function that finds and follows the objects of a video itself."""

from types import SimpleNamespace

import pytest

from clips import clip, number_on
from prefect_cvat import TrackOptions, annotate_task, track_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle, tag
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.track_options import TrackOptions as Tracking
from prefect_cvat.runs.dry_run import dry_run
from prefect_cvat.runs.track_objects_run import TrackObjectsRun
from prefect_cvat.runs.track_task import new_track_run

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7)])
FRAMES = 24
LEFT, RIGHT = [10, 20, 40, 50], [60, 20, 90, 50]
PLAIN = TrackOptions(fill_gap=0, min_length=1, max_gap=3, tolerance=0.5)


class Swapping:
    """Two cars that swap their places on frame 12; only their numbers tell which is which."""

    spec = SPEC

    def __init__(self, dropped=(), number=lambda car: car):
        self.seen = []
        self.begun = 0
        self.dropped_objects = ()
        self._dropped = dropped
        self._number = number

    def begin_video(self):
        self.begun += 1
        self.seen = []

    def detect(self, context, image):
        frame = number_on(image)
        self.seen.append(frame)
        if frame >= 5:
            self.dropped_objects = self._dropped
        first, second = (LEFT, RIGHT) if frame < 12 else (RIGHT, LEFT)
        return [
            rectangle(7, first, score=0.9, group=self._number(1)),
            rectangle(7, second, score=0.8, group=self._number(2)),
            tag(7),
        ]


class SwappingInSteps(Swapping):
    """The same in three steps, with images prepared ahead."""

    batch_size = 1

    def preprocess_image(self, context, image):
        return image

    def infer_batch(self, contexts, inputs):
        return [Swapping.detect(self, *each) for each in zip(contexts, inputs, strict=True)]

    def postprocess(self, context, output):
        return output


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


def points_on(track, frame):
    shape = interpolate(track, frame)
    return None if shape is None else shape["points"]


@pytest.mark.parametrize("function_class", [Swapping, SwappingInSteps])
@pytest.mark.parametrize("frames_per_batch", [1, 100])
def test_objects_keep_their_numbers_over_frames_batches_and_jobs(
    client, task_id, function_class, frames_per_batch
):
    function = function_class()
    report = track_task(client, task_id, function, track_options=PLAIN, frames_per_batch=frames_per_batch)
    assert function.begun == 1
    assert function.seen == list(range(FRAMES)), "each frame once, in order"
    for (first, last), of_job in tracks(client, task_id).items():
        assert len(of_job) == 2
        assert all(track["group"] == 0 for track in of_job)
        for frame in range(first, last + 1):
            found = [points_on(track, frame) for track in of_job]
            assert sorted(map(tuple, found)) == sorted(map(tuple, (LEFT, RIGHT)))
    crossing = tracks(client, task_id)[10, 19]
    [first] = [track for track in crossing if points_on(track, 11) == LEFT]
    assert points_on(first, 12) == RIGHT
    assert (report.tracks, report.untracked) == ({"car": 2}, 0)
    assert "they depend on the frames before" in report.not_kept


def test_second_run_adds_nothing(client, task_id):
    track_task(client, task_id, Swapping(), track_options=PLAIN)
    before = tracks(client, task_id)
    function = Swapping()
    report = track_task(client, task_id, function, track_options=PLAIN)
    assert function.seen == list(range(FRAMES)), "it looks again: detections are not cached"
    assert report.added == 0
    assert tracks(client, task_id) == before


def test_tracks_of_dropped_objects_are_not_written(client, video_task):
    task_id = video_task(clip(range(FRAMES)))
    report = track_task(client, task_id, Swapping(dropped=[2]), track_options=PLAIN, frames_per_batch=4)
    [[track]] = tracks(client, task_id).values()
    assert (points_on(track, 0), points_on(track, 20)) == (LEFT, RIGHT)
    assert report.tracks == {"car": 1}
    assert report.untracked > 0


def test_only_every_nth_frame_is_shown(client, video_task):
    task_id = video_task(clip(range(FRAMES)))
    function = Swapping()
    track_task(client, task_id, function, track_options=TrackOptions(step=4, tolerance=0.5))
    assert function.seen == list(range(0, FRAMES, 4))
    assert len(tracks(client, task_id)[0, FRAMES - 1]) == 2


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (lambda car: 0, r"frame 0: function output a shape without a number of its object \('group'\)"),
        (lambda car: 5, r"frame 0: function output two shapes with the same number of its object"),
    ],
    ids=["no number", "same number"],
)
def test_shapes_without_an_own_number_are_refused_and_nothing_stays(client, video_task, number, message):
    task_id = video_task(clip(range(4)))
    with pytest.raises(BadFunctionError, match=message):
        track_task(client, task_id, Swapping(number=number), track_options=PLAIN)
    annotations = client.task_annotations(task_id)
    assert not annotations.tracks
    assert not annotations.tags


def test_annotating_with_shapes_is_refused(client, video_task):
    with pytest.raises(BadFunctionError, match="'Swapping' finds and follows the objects of a video: make"):
        annotate_task(client, video_task(clip(range(4))), Swapping())


def test_frames_cannot_be_skipped(client):
    with pytest.raises(ValueError, match="objects cannot be followed over skipped frames; omit on_frame"):
        new_track_run(client, 1, Swapping(), Options(on_frame_error="skip"))


def test_error_of_begin_video_names_the_function(client, video_task):
    function = Swapping()
    function.begin_video = SimpleNamespace(__call__=None)
    with pytest.raises(BadFunctionError, match="begin_video failed: TypeError"):
        track_task(client, video_task(clip(range(4))), function)


def test_dry_run_tries_the_function(client, video_task):
    task_id = video_task(clip(range(8)))
    found = dry_run(TrackObjectsRun(client, task_id, Swapping(), Options(), Tracking()))
    assert found.trial.labels == {"car": 12}
    assert found.trial.are_put_to_tracks
