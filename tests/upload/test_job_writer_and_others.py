"""JobWriter in a job to which an earlier run or somebody else writes."""

import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.options.existing_annotation_options import Existing
from prefect_cvat.records.run_lock import exclusive_run
from upload.job_writing import run

pytestmark = pytest.mark.usefixtures("quick_retries", "short_late_commits")


def test_writes_equal_annotations_as_often_as_given(scene):
    scene.place(scene.rect(1), scene.rect(1, source="manual"))
    writer = scene.writer()
    run(writer, [scene.rect(1), scene.rect(1), scene.rect(1)])
    assert Counter(shape["source"] for shape in scene.stored().shapes) == {"auto": 3, "manual": 1}
    assert (writer.already_there, writer.added) == (1, 2)


@pytest.mark.parametrize("existing", list(Existing))
def test_removes_duplicates_of_killed_run(scene, existing):
    scene.place(scene.rect(1), scene.rect(2))
    first = scene.stored().shapes
    scene.place(scene.rect(1), scene.rect(2))
    run(scene.writer(existing=existing), [scene.rect(1), scene.rect(2)])
    assert scene.stored().shapes == first


def test_keeps_and_reports_equal_annotations_of_others(scene):
    tag = {"frame": 2, "label_id": scene.car, "source": "auto"}
    scene.place(scene.rect(1), scene.rect(1, source="manual"), scene.rect(4), tags=[tag])
    writer = scene.writer()
    writer.write(0, [scene.rect(1), scene.rect(1), scene.rect(2), tag, tag], range(4))
    scene.place(scene.rect(1), scene.rect(1), scene.rect(2), tags=[tag])
    there = scene.stored()
    writer.finish()
    assert scene.stored() == there
    assert (writer.added, writer.already_there, writer.doubled_by_others) == (3, 2, 4)
    run(scene.writer(), [scene.rect(1), scene.rect(1), scene.rect(2), tag, tag])  # the next run settles it
    assert sorted(shape["points"][0] for shape in scene.stored().shapes) == [1, 1, 1, 2, 4]
    assert len(scene.stored().tags) == 2


def test_removes_duplicates_at_end_unless_corrected(client, scene):
    scene.place(*[scene.rect(1)] * 4)
    writer = scene.writer()
    writer.write(0, [scene.rect(1)], [0])
    writer.verify()
    [first, _, _, last] = scene.stored().shapes
    correction = {"shapes": [{**last, "source": "manual"}]}
    path = f"/api/jobs/{scene.job.id}/annotations"
    client._transport.json("PATCH", path, params={"action": "update"}, body=correction)
    writer.finish()
    left = scene.stored().shapes
    assert left[0] == first
    assert [shape["source"] for shape in left] == ["auto", "manual"]


def test_waits_for_write_of_killed_run_before_start(client, scene, monkeypatch):
    with exclusive_run(client.url, scene.task_id) as lock:
        lock.sending(scene.job.id)  # and is killed before the answer
    with exclusive_run(client.url, scene.task_id) as lock:
        late = threading.Timer(0.2, scene.place, [scene.rect(1)])
        late.start()
        lock.wait_for_earlier_write(0.5)
        run(scene.writer(), [scene.rect(1)])
        assert scene.xs() == [1]
        late.join()
    with exclusive_run(client.url, scene.task_id) as lock:
        assert lock.earlier_write is None


@pytest.mark.parametrize("how", ["finish", "undo"])
def test_keeps_annotation_corrected_during_run(client, scene, how):
    writer = scene.writer()
    writer.write(0, [scene.rect(1), scene.rect(2)], [0])
    scene.correct(2, points=[30, 1, 40, 9])
    if how == "finish":
        writer.verify()
        writer.finish()
    else:
        writer.undo()
    assert scene.xs() == ([1, 30] if how == "finish" else [30])


def test_keeps_annotation_corrected_between_last_two_readings(client, scene):
    scene.place(scene.rect(7), scene.rect(8))
    writer = scene.writer(existing="replace_auto")
    writer.write(0, [scene.rect(1)], range(4))
    writer.verify()
    scene.correct(7)
    writer.finish()
    assert scene.xs() == [1, 7]


@pytest.mark.parametrize("existing", ["clear", "replace_auto"])
def test_keeps_annotations_on_frames_that_were_not_written(scene, existing):
    def track(*frames):
        shapes = [{"type": "rectangle", "frame": f, "points": [1, 2, 3, 4], "outside": False} for f in frames]
        if frames[-1] < 3:  # seen no further
            shapes[-1]["outside"] = True
        return {"frame": frames[0], "label_id": scene.car, "source": "auto", "shapes": shapes}

    tags = [{"frame": frame, "label_id": scene.car, "source": "auto"} for frame in (1, 3)]
    scene.place(scene.rect(7, 1), scene.rect(8, 3), tags=tags, tracks=[track(0, 1), track(1, 3)])
    run(scene.writer(existing=existing), [scene.rect(1, 0)], frames=[0, 1])
    assert scene.xs() == [1, 8]
    assert [tag["frame"] for tag in scene.stored().tags] == [3]
    assert [track["frame"] for track in scene.stored().tracks] == [1]


def test_keeps_annotations_on_failed_frames(client, scene):
    scene.place(scene.rect(7, 0), scene.rect(8, 3))

    def detect(context, image):
        if context.frame_name == "0003.png":
            raise ZeroDivisionError
        return [rectangle(1, [1, 1, 6, 9])]

    function = SimpleNamespace(spec=DetectionFunctionSpec(labels=[label_spec("car", 1)]), detect=detect)
    annotate_task(client, scene.task_id, function, existing="clear", on_frame_error="skip")
    assert scene.xs() == [1, 1, 1, 8]
