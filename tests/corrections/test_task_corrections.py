"""What people have corrected of what runs wrote, told from the records and from a sandbox over HTTP."""

import gzip
from collections import Counter

import pytest

from corrected_tasks import Boxes, OtherBoxes, Tags
from prefect_cvat import annotate_task, track_task, undo_run
from prefect_cvat.corrections import corrections_of_task
from prefect_cvat.corrections.shape_changes import changed_keyframes
from prefect_cvat.exceptions import PrefectCvatError, RunNotFoundError, StorageError
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.upload import undo_annotations
from task_annotations import WRITES


def kinds(done):
    return dict(Counter(each.kind for each in done))


def of_kind(done, kind):
    [found] = [each for each in done if each.kind == kind]
    return found


def test_without_corrections_no_frame_counts_as_looked_at(client, scene):
    done = corrections_of_task(client, scene.task_id)
    assert list(done) == []
    assert (len(done.frames), done.frames_processed) == (0, 6)
    assert [run.run for run in done.runs] == [scene.run]
    assert done.unknown == []


def test_on_a_corrected_frame_unchanged_shapes_are_confirmed(client, scene):
    left, right = scene.people.shapes(1)
    scene.people.move(left, by=3.0)
    done = corrections_of_task(client, scene.task_id)
    assert list(done.frames.numbers) == [1]
    assert kinds(done) == {"moved": 1, "confirmed": 1}
    moved = of_kind(done, "moved")
    assert moved.written["points"] == [2, 2, 12, 22]
    assert moved.current["points"] == [5, 2, 12, 22]
    assert (moved.function, moved.run_key, moved.label, moved.is_moved) == ("Boxes", scene.run, "car", True)
    assert (moved.score, of_kind(done, "confirmed").score) == (0.9, 0.4)
    assert right["id"] == of_kind(done, "confirmed").current["id"]


def test_completed_jobs_and_named_frames_are_looked_at(client, scene):
    scene.people.complete(scene.people.jobs[1])
    done = corrections_of_task(client, scene.task_id, looked_at=[0])
    assert list(done.frames.numbers) == [0, 3, 4, 5]
    assert kinds(done) == {"confirmed": 8}


def test_changed_label_with_and_without_a_changed_place(client, scene):
    left, right = scene.people.shapes(0)
    scene.people.relabel(left, "person")
    scene.people.relabel(right, "person", points=[20, 0, 33, 25])
    changed = [each for each in corrections_of_task(client, scene.task_id) if each.kind == "relabelled"]
    assert [(each.label, each.written_label) for each in changed] == [("person", "car")] * 2
    assert sorted(each.is_moved for each in changed) == [False, True]


def test_deleted_and_drawn_shapes(client, scene):
    scene.people.delete(scene.people.shapes(2)[1])
    scene.people.draw(2, [40, 30, 60, 45], "person")
    done = corrections_of_task(client, scene.task_id)
    assert kinds(done) == {"confirmed": 1, "deleted": 1, "drawn": 1}
    deleted, drawn = of_kind(done, "deleted"), of_kind(done, "drawn")
    assert (deleted.label, deleted.score, deleted.current, deleted.function) == ("car", 0.4, None, "Boxes")
    assert (drawn.label, drawn.written, drawn.function, drawn.run_key) == ("person", None, None, "")


def test_shape_that_was_drawn_again_in_its_place_counts_as_moved(client, scene):
    left, right = scene.people.shapes(0)
    scene.people.delete(left)
    scene.people.draw(0, [2, 4, 12, 24])
    scene.people.delete(right)
    scene.people.draw(0, right["points"], "person")
    done = corrections_of_task(client, scene.task_id)
    assert kinds(done) == {"moved": 1, "relabelled": 1}
    assert of_kind(done, "relabelled").is_moved is False


def test_annotations_with_new_ids_are_matched_by_place(client, scene):
    job = scene.people.jobs[0]
    held = client.job_annotations(job.id).shapes
    client.delete_job_annotations(job.id, {"shapes": held, "tags": [], "tracks": []})
    again = [{name: value for name, value in shape.items() if name != "id"} for shape in held]
    client.create_job_annotations(job.id, {"shapes": again})
    done = corrections_of_task(client, scene.task_id, looked_at=range(6))
    assert kinds(done) == {"confirmed": 12}


def test_what_was_drawn_before_the_run_is_no_correction(client, people):
    before = people()
    before.draw(0, [40, 30, 60, 45])
    annotate_task(client, before.task_id, Boxes())
    assert list(corrections_of_task(client, before.task_id)) == []


def test_frames_that_no_run_has_processed_are_not_compared(client, people):
    task = people()
    annotate_task(client, task.task_id, Boxes(), frames=[0, 1])
    task.draw(2, [40, 30, 60, 45])
    done = corrections_of_task(client, task.task_id, looked_at=range(6))
    assert (list(done.frames.numbers), kinds(done)) == ([0, 1], {"confirmed": 4})


def test_shape_on_a_frame_where_the_run_found_nothing_is_drawn(client, people):
    task = people()
    annotate_task(client, task.task_id, Boxes(), frames=[0, 1], conf_threshold=0.5)
    for frame in (0, 1):
        task.delete(task.shapes(frame)[0])
    task.draw(0, [40, 30, 60, 45])
    assert kinds(corrections_of_task(client, task.task_id)) == {"deleted": 2, "drawn": 1}


def test_several_runs_of_several_functions(client, scene):
    second = annotate_task(client, scene.task_id, OtherBoxes(45.0), use_cache=False)
    shapes = scene.people.shapes(0)
    scene.people.move(shapes[0], by=2.0)
    scene.people.move(shapes[2], by=-2.0)
    moved = [each for each in corrections_of_task(client, scene.task_id) if each.kind == "moved"]
    assert {(each.function, each.run_key) for each in moved} == {
        ("Boxes", scene.run), ("OtherBoxes", second.run),
    }  # fmt: skip


def test_replaced_and_undone_shapes_are_not_deleted(client, scene):
    second = annotate_task(client, scene.task_id, Boxes(3.0, "2"), existing="replace_auto", use_cache=False)
    done = corrections_of_task(client, scene.task_id, looked_at=range(6))
    assert (kinds(done), {each.run_key for each in done}) == ({"confirmed": 12}, {second.run})
    undo_run(client, second.run)
    done = corrections_of_task(client, scene.task_id, looked_at=range(6))
    assert kinds(done) == {}


def test_changed_attribute_or_a_touch_marks_the_frame_only(client, scene):
    scene.people.change(scene.people.shapes(4)[0], occluded=True)
    done = corrections_of_task(client, scene.task_id)
    assert (list(done.frames.numbers), kinds(done)) == ([4], {"confirmed": 2})


def test_annotations_of_no_recorded_run_have_no_function(client, scene):
    scene.people.draw(0, [40, 30, 60, 45], source="auto", score=0.7)
    scene.people.draw(0, [40, 5, 60, 15], source="file")
    done = corrections_of_task(client, scene.task_id, looked_at=[0])
    assert Counter(each.function for each in done) == {"Boxes": 2, None: 1}
    assert [reason.partition(" ")[2] for reason in done.unknown] == [
        "annotation automatic, but of no recorded run: how many of these were deleted is not known",
        "annotation of source 'file', which nobody has drawn here",
    ]


def test_frame_of_two_jobs_is_compared_in_the_first(client, people):
    task = people(overlap=1, segment_size=4)
    annotate_task(client, task.task_id, Boxes())
    first, second = task.jobs[:2]
    shared = second.start_frame
    task.move(task.shapes(shared, first)[0], 3.0, first)
    task.move(task.shapes(shared, second)[0], 5.0, second)
    done = corrections_of_task(client, task.task_id)
    assert of_kind(done, "moved").current["points"][0] == 5.0
    assert any("1 frame that two jobs share" in reason for reason in done.unknown)


def test_task_without_a_recorded_run_says_where_records_are(client, people, runs_dir):
    with pytest.raises(RunNotFoundError, match=r"no run on task .*PREFECT_CVAT_RUNS_DIR"):
        corrections_of_task(client, people().task_id)


def test_records_without_content_say_what_is_unknown(client, scene, runs_dir):
    left, right = scene.people.shapes(0)
    scene.people.move(left, 3.0)
    scene.people.delete(right)
    for file in runs_dir.glob("*/*.written.gz"):
        file.unlink()
    done = corrections_of_task(client, scene.task_id)
    assert kinds(done) == {"moved": 1}
    assert of_kind(done, "moved").written is None
    assert len(done.unknown) == 2


def test_truncated_content_is_read_as_far_as_it_goes(client, scene, runs_dir):
    [file] = runs_dir.glob("*/*.written.gz")
    file.write_bytes(file.read_bytes()[:-9])
    scene.people.move(scene.people.shapes(0)[0], 3.0)
    done = corrections_of_task(client, scene.task_id)
    assert kinds(done) == {"moved": 1, "confirmed": 1}


def test_labels_removed_since_are_said(client, scene):
    scene.people.draw(0, [40, 30, 60, 45], "person")
    client._transport.json(
        "PATCH",
        f"/api/tasks/{scene.task_id}",
        body={"labels": [{"id": scene.people.labels["car"], "deleted": True}]},
    )
    done = corrections_of_task(client, scene.task_id)
    assert kinds(done) == {"drawn": 1}
    assert any("12 annotations of labels that the task no longer has" in reason for reason in done.unknown)


def test_tracks_and_shapes_mixed(client, people):
    task = people(segment_size=0)
    track_task(client, task.task_id, Boxes(), track_options=TrackOptions(activation=0.3, high_confidence=0.3))
    [job] = task.jobs
    first, second = sorted(client.job_annotations(job.id).tracks, key=lambda t: t["shapes"][0]["points"][0])
    task.draw(3, [40, 30, 60, 45], "person")
    keyframe = {**first["shapes"][0], "frame": 3, "points": [5.0, 2.0, 12.0, 22.0]}
    task.change(first, job, "tracks", shapes=[first["shapes"][0], keyframe])
    done = corrections_of_task(client, task.task_id, looked_at=[0])
    assert kinds(done) == {"moved": 1, "confirmed": 1, "drawn": 1}
    changed = of_kind(done, "moved")
    assert changed_keyframes(changed.written, changed.current) == 1
    assert (changed.function, changed.score) == ("Boxes", None)
    assert of_kind(done, "confirmed").current["id"] == second["id"]


def test_tags_are_confirmed_deleted_and_drawn(client, people):
    task = people()
    annotate_task(client, task.task_id, Tags())
    job = task.jobs[0]
    first = next(tag for tag in client.job_annotations(job.id).tags if tag["frame"] == 0)
    client.delete_job_annotations(job.id, {"shapes": [], "tags": [first], "tracks": []})
    assert kinds(corrections_of_task(client, task.task_id)) == {"deleted": 1, "confirmed": 1}
    again = {"frame": 0, "label_id": first["label_id"], "source": "manual"}
    client.create_job_annotations(job.id, {"tags": [again]})
    assert kinds(corrections_of_task(client, task.task_id, looked_at=[0])) == {"confirmed": 2}


def test_damaged_lines_are_left_out(client, scene, runs_dir):
    [file] = runs_dir.glob("*/*.written.gz")
    content = gzip.decompress(file.read_bytes())
    damaged = (
        b"not a line\n7 zz shapes {}\nframes 5-\n- shapes x\n1 " + b"0" * 24 + b" shapes []\n1 00 shapes {}\n"
    )
    file.write_bytes(gzip.compress(damaged + content))
    scene.people.move(scene.people.shapes(0)[0], 3.0)
    assert kinds(corrections_of_task(client, scene.task_id)) == {"moved": 1, "confirmed": 1}


def test_undo_that_cannot_be_noted_removes_nothing(client, scene, monkeypatch):
    def full(run, removed):
        raise StorageError("no space left on device")

    monkeypatch.setattr(undo_annotations, "note_removed", full)
    with pytest.raises(StorageError):
        undo_run(client, scene.run)
    assert kinds(corrections_of_task(client, scene.task_id, looked_at=range(6))) == {"confirmed": 12}


def test_annotations_that_undo_has_noted_but_not_removed_are_compared(client, scene, faults):
    deletes = {**WRITES, "actions": ["delete"]}
    faults.set([{**deletes, "fault": {"kind": "status", "status": 500}}])
    with pytest.raises(PrefectCvatError):
        undo_run(client, scene.run)
    faults.set([])
    scene.people.move(scene.people.shapes(0)[0], 3.0)
    done = corrections_of_task(client, scene.task_id, looked_at=[1])
    assert kinds(done) == {"moved": 1, "confirmed": 3}


def test_killed_run_has_processed_the_frames_on_which_it_wrote(client, people, runs_dir):
    task = people()
    run = annotate_task(client, task.task_id, Boxes(), frames=[0, 1]).run
    [file] = runs_dir.glob("*/*.written.gz")
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    file.write_bytes(gzip.compress(b"".join(line for line in lines if not line.startswith(b"frames"))))
    task.draw(2, [40, 30, 60, 45])
    done = corrections_of_task(client, task.task_id, looked_at=range(6))
    assert (list(done.frames.numbers), kinds(done)) == ([0, 1], {"confirmed": 4})
    assert done.unknown == [
        f"run {run[:8]} was interrupted: only the frames on which it has written something count as processed"
    ]


def test_runs_in_force_on_a_frame(client, people):
    task = people()
    first = annotate_task(client, task.task_id, Boxes(), frames=range(3), use_cache=False).run
    other = annotate_task(client, task.task_id, OtherBoxes(45.0), frames=[2, 3], use_cache=False).run

    def in_force():
        done = corrections_of_task(client, task.task_id)
        return [done.in_force_on(frame) for frame in range(5)]

    assert in_force() == [{first}, {first}, {first, other}, {other}, set()]
    later = annotate_task(
        client, task.task_id, Boxes(3.0, "2"), frames=[0], existing="replace_auto", use_cache=False
    ).run
    assert in_force() == [{later}, {first}, {first, other}, {other}, set()]
    undo_run(client, other)
    assert in_force() == [{later}, {first}, {first}, set(), set()]
