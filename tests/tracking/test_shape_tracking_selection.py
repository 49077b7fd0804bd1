"""Which shapes a tracking function tracks, and what a run refuses."""

import re
from types import SimpleNamespace

import pytest

from moving_blocks import RED, Blocks, World, box, keyframes, png
from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionFunctionSpec,
    TrackableShape,
    label_spec,
)
from prefect_cvat.exceptions import UnsupportedTaskError
from prefect_cvat.options.existing_annotation_options import Existing
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions


def test_tracks_shapes_of_source_auto_only_on_request(world):
    here = world()
    here.place(here.shape(3, source="auto"), here.shape(3, row=20, source="semi-auto"))
    assert here.run().tracks == {"car": 1}
    [track] = here.tracks()
    assert track["shapes"][0]["points"] == box(6, 20)
    here.run(sources=["auto"])
    assert sorted(track["source"] for track in here.tracks()) == ["auto", "semi-auto"]


def test_labels_select_source_shapes(world):
    here = world()
    here.place(here.shape(3), here.shape(3, row=20, label="person"))
    assert here.run(labels=["person"]).tracks == {"person": 1}
    assert [shape["points"] for shape in here.shapes()] == [box(6)]


def test_counts_and_keeps_shapes_of_unsupported_types(world):
    here = world()
    here.place(here.shape(3), here.shape(3, row=20, type="ellipse"), here.shape(4, row=20, type="ellipse"))
    report = here.run()
    assert report.source_shapes_left_out == {"ellipse, which the function cannot track": 2}
    assert "not tracked: 2 ellipse, which the function cannot track" in report.lines()
    assert [shape["type"] for shape in here.shapes()] == ["ellipse"] * 2


def test_polygons_become_polygon_tracks(world):
    here = world()
    here.place(here.shape(3, type="polygon", points=[6.0, 10.0, 14.0, 10.0, 14.0, 18.0]))
    here.run()
    [track] = here.tracks()
    assert keyframes(track) == [(frame, False) for frame in range(3, 12)]
    assert track["shapes"][-1]["points"] == [22.0, 10.0, 30.0, 10.0, 30.0, 18.0]


def test_keeps_manual_annotations_that_are_not_source_shapes(world):
    here = world(segment_size=6)
    others = {
        "tags": [{"frame": 3, "label_id": here.labels["person"].id, "source": "manual"}],
        "tracks": [{"frame": 2, "label_id": here.labels["car"].id, "source": "manual",
                    "shapes": [{"type": "rectangle", "frame": 2, "points": box(9), "outside": False}]}],
    }  # fmt: skip
    here.place(here.shape(4, row=30, label="person"), here.shape(3, source="auto", x=1), **others)
    here.place(here.shape(8, row=30, label="person"), job=1)
    before = [list(here.client.iter_job_annotations(job.id)) for job in here.jobs]
    here.place(here.shape(3))
    here.run(labels=["car"])
    for job, old in zip(here.jobs, before, strict=True):
        now = list(here.client.iter_job_annotations(job.id))
        assert [item for item in now if item in old] == old
        assert [kind for kind, item in now if (kind, item) not in old] == ["tracks"]


def test_frames_and_jobs_select_source_shapes(world, downloads):
    here = world(segment_size=6)
    here.place(here.shape(1), here.shape(2, row=20))
    here.place(here.shape(7), job=1)
    report = here.run(options={"frames": range(0, 12, 2), "jobs": [here.jobs[0].id]})
    [track] = here.tracks()
    assert keyframes(track) == [(2, False), (4, False), (5, True)]
    assert here.tracks(1) == []
    assert [shape["frame"] for shape in (*here.shapes(), *here.shapes(1))] == [1, 7]
    assert sorted(downloads) == [1, 2]
    assert report.frames == 2


def test_restores_rotation(world):
    here = world()
    here.place(here.shape(3, rotation=30.0))
    here.run()
    [track] = here.tracks()
    assert {shape["rotation"] for shape in track["shapes"]} == {30.0}


@pytest.mark.parametrize(
    ("follow", "message"),
    [
        ({"labels": ["boat"]}, r"task \d+ has no label 'boat'; it has 'car', 'person'"),
        ({"until": 99}, "has the frames 0-11; it has no frame 99"),
    ],
)
def test_untrackable_shapes_are_refused_before_chunks_are_fetched(world, downloads, follow, message):
    here = world()
    here.place(here.shape(3))
    with pytest.raises(ValueError, match=message):
        here.run(**follow)
    assert downloads == []
    assert len(here.shapes()) == 1


@pytest.mark.parametrize(
    ("follow", "message"),
    [
        ({"labels": ["person"]}, "no shapes to track .* and label 'person'"),
        ({"sources": ["file"]}, "no shapes to track of source file"),
        ({"until": 2}, "no shapes to track .*; left out: 1 beyond frame 2"),
    ],
)
def test_reports_nothing_to_track_and_fetches_nothing(world, downloads, follow, message):
    here = world()
    here.place(here.shape(3))
    report = here.run(**follow)
    assert re.search(message, report.nothing_to_do)
    assert downloads == []
    assert len(here.shapes()) == 1


@pytest.mark.parametrize(
    ("follow", "message"),
    [
        ({"direction": "up"}, "direction must be 'forward', 'backward' or 'both', not 'up'"),
        ({"direction": "both", "until": 3}, "until needs one direction"),
        ({"sources": ["human"]}, "sources.0. must be .*, not 'human'"),
        ({"tolerance": -1}, "tolerance must be 0 or more, not -1"),
    ],
)
def test_refuses_options_out_of_range(follow, message):
    with pytest.raises(ValueError, match=message):
        ShapeTrackingOptions(**follow)


@pytest.mark.parametrize(
    "options", [{"existing": Existing.CLEAR}, {"existing": Existing.REPLACE_AUTO}, {"on_frame_error": "skip"}]
)
def test_refuses_options_of_other_runs(world, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        world(2).run(options=options)


def test_refuses_other_functions(world):
    function = SimpleNamespace(spec=DetectionFunctionSpec(labels=[]), detect=print)
    with pytest.raises(BadFunctionError, match="not a tracking function"):
        world(2).run(function)


def test_refuses_task_with_ground_truth_pool(sdk, client, tmp_path, downloads):
    paths = []
    for frame in range(8):
        paths.append(tmp_path / f"{frame}.png")
        paths[-1].write_bytes(png([(RED, (2 * frame, 10))]))
    task = sdk.tasks.create_from_data(
        {"name": "pool", "labels": [{"name": "car"}]},
        paths,
        data_params={
            "image_quality": 70,
            "sorting_method": "random",
            "validation_params": {
                "mode": "gt_pool", "frame_selection_method": "random_uniform",
                "frame_count": 2, "frames_per_job_count": 1,
            },
        },
    )  # fmt: skip
    downloads.clear()
    with pytest.raises(UnsupportedTaskError, match="has a ground-truth pool"):
        World(client, task.id).run()
    assert downloads == []


def test_refuses_images_of_different_sizes(client):
    task = client.create_task("sizes", [label_spec("car", None)])
    sizes = [(64, 48)] * 4 + [(80, 48)] * 2
    images = {f"{i}.png": png([(RED, (2 * i, 10))], size) for i, size in enumerate(sizes)}
    client.upload_images(task.id, images, chunk_size=2)
    here = World(client, task.id)
    here.place(here.shape(0))
    before = here.stored()
    with pytest.raises(UnsupportedTaskError, match=r"frame 4 \(4.png\) is 80x48 pixels"):
        here.run()
    assert here.stored() == before


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda: 1 / 0, "frame 5 .*track of rectangle .*ZeroDivisionError"),
        (lambda: TrackableShape(type="rectangle", points=[1, 2, 3]), "frame 5 .*rectangle with 3 numbers"),
        (lambda: TrackableShape(type="polygon", points=[1, 2, 3, 4, 5, 6]), "frame 5 .*expected 'rectangle'"),
    ],
)
def test_bad_output_leaves_task_unchanged(world, output, message):
    class Bad(Blocks):
        def track(self, context, pixels, state):
            found = super().track(context, pixels, state)
            return output() if found.points == box(10) else found

    here = world()
    here.place(here.shape(3), here.shape(2, row=20))
    before = here.stored()
    with pytest.raises(BadFunctionError, match=message):
        here.run(Bad())
    assert here.stored() == before
