"""Learning from corrections in a sandbox, and runs that use what was learned."""

import json

import numpy as np
import pytest

from corrected_tasks import Boxes, OtherBoxes, Tags
from prefect_cvat import annotate_task, learn_task, track_task
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    keypoint,
    keypoint_spec,
    label_spec,
    mask,
    rectangle,
    skeleton,
    skeleton_label_spec,
)
from prefect_cvat.exceptions import NothingToExportError, NothingToLearnError, RunNotFoundError
from prefect_cvat.masks import encode_mask
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.review.learned import read_learned


class Scored(Boxes):
    """Finds a car with the score 0.9 on each frame, and one with 0.3 on each second one, from a score on."""

    score_threshold = 0.5

    def __init__(self):
        super().__init__()
        self.asked = []

    def detect(self, context, image):
        self.asked.append(context.conf_threshold)
        threshold = self.score_threshold if context.conf_threshold is None else context.conf_threshold
        shapes = [(2, 0.9)] + [(30, 0.3)] * (len(self.asked) % 2)
        return [rectangle(0, [x, 2, x + 10, 22], score=score) for x, score in shapes if score >= threshold]


def correct(people, frames):
    """The second car of each frame is none; a third one is missed on frame 0."""
    for frame in frames:
        people.delete(people.shapes(frame)[1])
    people.draw(0, [40, 30, 60, 45])


def test_corrections_teach_how_often_shapes_are_right(client, annotated):
    people = annotated()
    correct(people, range(4))
    report = learn_task(client, people.task_id)
    learned = report.functions["Boxes"]
    assert report.corrections == {"confirmed": 4, "deleted": 4, "drawn": 1}
    assert (report.frames, report.frames_processed, report.place) == (4, 6, f"task {people.task_id}")
    assert (learned.shapes, learned.right, learned.missed) == (8, 4, 1)
    judge = learned.calibration.of_labels({1: "car"}).at_typical_size
    assert judge(1, 0.4) < 0.3 < 0.85 < judge(1, 0.9)


def test_later_runs_rank_frames_by_it(client, annotated):
    people = annotated()
    correct(people, range(6))
    learn_task(client, people.task_id)
    plain = annotate_task(client, people.task_id, Boxes(), use_cache=False)
    report = annotate_task(client, people.task_id, Boxes(), use_cache=False, learned=True)
    assert (plain.learned, report.learned) == (
        "",
        f"learned from 12 shapes on 6 corrected frames of task {people.task_id}: the order of review",
    )
    assert plain.review[0].expected_corrections == pytest.approx(0.1 + 0.6)
    assert report.review[0].expected_corrections > 0.7


def test_tracks_are_ranked_by_it(client, annotated):
    people = annotated()
    correct(people, range(6))
    learn_task(client, people.task_id)
    options = TrackOptions(min_length=2, activation=0.3, high_confidence=0.3)
    corrections = [
        track_task(client, people.task_id, Boxes(), track_options=options, use_cache=False, learned=learned)
        for learned in (False, True)
    ]
    assert [report.tracks for report in corrections] == [{"car": 2}] * 2
    assert corrections[1].learned.startswith("learned from 12 shapes on 6 corrected frames")
    [before], [after] = (report.review for report in corrections)  # the two tracks, on their first frame
    assert before.expected_corrections == pytest.approx(0.1 + 0.6)
    assert after.expected_corrections > 0.75


def test_learning_again_replaces_what_was_learned_from_the_task(client, annotated):
    people = annotated()
    correct(people, range(3))
    once = learn_task(client, people.task_id)
    assert learn_task(client, people.task_id).functions == once.functions
    people.delete(people.shapes(4)[1])
    assert learn_task(client, people.task_id).functions["Boxes"].shapes == 8


def test_tasks_of_a_project_learn_together(client, annotated, make_project):
    project = make_project()
    first, second = annotated(project_id=project), annotated(project_id=project)
    correct(first, range(3))
    correct(second, range(2))
    learn_task(client, first.task_id)
    report = learn_task(client, second.task_id)
    assert (report.place, report.functions["Boxes"].tasks) == (
        f"project {project}",
        sorted([first.task_id, second.task_id]),
    )
    assert report.functions["Boxes"].shapes == 10


def test_without_corrections_it_says_what_is_missing(client, annotated, learned_dir):
    people = annotated()
    with pytest.raises(NothingToLearnError, match=r"any of the 6 frames .* completed, .* looked_at"):
        learn_task(client, people.task_id)
    assert not learned_dir.exists()
    report = annotate_task(client, people.task_id, Boxes(), use_cache=False, learned=True)
    assert report.learned == (
        f"nothing is learned about Boxes in task {people.task_id} yet: correct annotations, then run"
        f" `prefect-cvat learn {people.task_id}`"
    )


def test_frames_without_mistakes_count_if_they_are_named_or_completed(client, annotated):
    people = annotated(segment_size=3)
    assert learn_task(client, people.task_id, looked_at=[1]).functions["Boxes"].right == 2
    people.complete(people.jobs[1])
    assert learn_task(client, people.task_id, looked_at=[1]).functions["Boxes"].right == 8


def test_frames_that_the_task_does_not_have_are_named(client, annotated):
    people = annotated(2)
    with pytest.raises(ValueError, match=r"looked_at: task \d+ has 2 frames, numbered from 0, and no 2-7"):
        learn_task(client, people.task_id, looked_at=range(1, 8))


def test_task_without_runs_or_frames_annotated(client, make_task):
    with pytest.raises(RunNotFoundError, match="no run on task"):
        learn_task(client, make_task(2))


def test_everything_deleted(client, annotated):
    people = annotated(3)
    for frame in range(3):
        for shape in people.shapes(frame):
            people.delete(shape)
    assert learn_task(client, people.task_id).functions["Boxes"].right == 0


def test_nudged_shape_is_right_and_one_that_was_far_off_is_not(client, annotated):
    people = annotated(2)
    people.move(people.shapes(0)[0], by=1)
    people.change(people.shapes(1)[0], points=[30, 30, 50, 45])
    assert learn_task(client, people.task_id).functions["Boxes"].right == 3


def test_tracks_and_tags_have_no_score(client, annotated, make_task):
    people = annotated(3, Tags())
    people.draw(0, [1, 1, 9, 9])
    report = learn_task(client, people.task_id)
    assert (report.without_score, report.functions["Tags"].shapes) == (2, 0)
    assert "nothing is learned from them: 2" in "\n".join(report.lines())

    people = annotated(4)
    options = TrackOptions(min_length=2, activation=0.3, high_confidence=0.3)
    track_task(client, people.task_id, Boxes(), track_options=options, use_cache=False)
    people.delete(people.shapes(0)[1])
    report = learn_task(client, people.task_id)
    assert (report.functions["Boxes"].shapes, report.without_score) == (2, 2)


def test_two_functions_are_learned_apart(client, annotated):
    people = annotated(3)
    annotate_task(client, people.task_id, OtherBoxes(4.0), use_cache=False)
    for frame in range(3):
        for shape in people.shapes(frame)[::2]:  # those of the first function
            people.delete(shape)
    report = learn_task(client, people.task_id)
    assert {name: each.right for name, each in report.functions.items()} == {"Boxes": 0, "OtherBoxes": 6}


def test_label_that_the_task_no_longer_has_is_not_used(
    client, annotated, make_task, make_project, remove_label
):
    project = make_project("car", "person")
    people = annotated(8, project_id=project)
    for frame in range(8):
        for shape in people.shapes(frame):
            people.relabel(shape, "person")
    assert learn_task(client, people.task_id).functions["Boxes"].label_map == {"car": "person"}
    task = make_task(1, project_id=project)
    report = annotate_task(client, task, Boxes(), use_cache=False, learned=True)
    assert report.labels == {"person": 2}
    remove_label(project, "person")
    report = annotate_task(client, task, Boxes(), use_cache=False, learned=True)
    assert report.labels == {"car": 2}


def test_thresholds_and_label_map_are_used_where_none_are_given(client, annotated, make_task, make_project):
    project = make_project("car", "person")
    people = annotated(12, project_id=project)
    for frame in range(12):
        people.delete(people.shapes(frame)[1])
    threshold = learn_task(client, people.task_id).functions["Boxes"].thresholds["car"]
    assert 0.4 < threshold < 0.9
    task = make_task(2, project_id=project)
    report = annotate_task(client, task, Boxes(), use_cache=False, learned=True)
    assert (report.labels, report.below_threshold) == ({"car": 2}, 2)
    assert report.provenance.label_thresholds == {"car": threshold}
    given = {"label_thresholds": {"car": 0.2}, "label_map": {"car": "person"}}
    report = annotate_task(client, task, Boxes(), use_cache=False, learned=True, **given)
    assert report.labels == {"person": 4}


def test_what_is_detected_below_the_threshold_counts_as_perhaps_missed(client, make_task):
    function = Scored()
    report = annotate_task(client, make_task(4), function, use_cache=False, review_threshold=0.2)
    assert function.asked == [0.2] * 4
    assert report.labels == {"car": 4}
    assert [item.frame for item in report.review] == [0, 2, 1, 3]
    assert report.review[0].expected_corrections == pytest.approx(0.1 + 0.3)
    assert report.review[0].reasons[-1] == "1 detection not written, best score 0.30: may be missed"
    assert report.review[0].box == (30, 2, 40, 22)


def test_with_what_was_learned_detections_count_from_half_the_threshold(client, make_task, annotated):
    people = annotated(2, Scored())
    people.move(people.shapes(0)[0], by=1)
    learn_task(client, people.task_id)
    function = Scored()
    annotate_task(client, people.task_id, function, use_cache=False, learned=True)
    assert set(function.asked) == {0.25}


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (Boxes(), "Boxes has no attribute score_threshold; set conf_threshold too"),
        (Tags(), "Tags returns tags; leave it out"),
    ],
    ids=["unknown threshold", "tags"],
)
def test_review_threshold_without_effect_is_refused(client, make_task, function, why):
    with pytest.raises(ValueError, match=f"review_threshold has no effect, because {why}"):
        annotate_task(client, make_task(1), function, use_cache=False, review_threshold=0.1)


def test_what_overlaps_with_existing_shapes_is_not_missed(client, make_task):
    class Two:
        spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])

        def detect(self, context, image):
            return [rectangle(0, [2, 2, 22, 22], score=0.3), rectangle(0, [30, 2, 40, 22], score=0.3)]

    task = make_task(1)
    options = {"conf_threshold": 0.5, "review_threshold": 0.2, "use_cache": False}
    assert annotate_task(client, task, Two(), **options).review[0].expected_corrections == pytest.approx(0.6)
    [job] = client.jobs(task)
    [car] = [label.id for label in client.labels(task) if label.name == "car"]
    manual = {"type": "rectangle", "frame": 0, "label_id": car, "points": [2, 2, 22, 22], "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [manual]})
    report = annotate_task(client, task, Two(), **options, skip_existing_iou=0.6)
    assert report.review[0].expected_corrections == pytest.approx(0.3)


def test_skeletons_and_masks_below_the_threshold_count(client, make_task):
    head = keypoint_spec("head", 0)

    class Low:
        spec = DetectionFunctionSpec(
            labels=[skeleton_label_spec("body", 7, [head]), label_spec("car", 8, type="mask")]
        )

        def detect(self, context, image):
            pixels = np.zeros((image.height, image.width), bool)
            pixels[10:20, 30:40] = True
            found = mask(8, encode_mask(pixels, [30, 10, 40, 20]), score=0.4)
            return [skeleton(7, [keypoint(0, [5, 6])], score=0.3), found]

    task = make_task(1, labels=[skeleton_label_spec("body", None, [head]), label_spec("car", None)])
    report = annotate_task(
        client, task, Low(), conf_threshold=0.5, review_threshold=0.2, use_cache=False, review_frames=1
    )
    [item] = report.review
    assert (report.labels, item.expected_corrections) == ({}, pytest.approx(0.7))
    assert (item.box, item.reasons[-1][:24]) == ((30, 10, 40, 20), "2 detections not written")


def test_export_has_exactly_the_corrected_frames_and_a_card(client, annotated, tmp_path):
    people = annotated()
    correct(people, [0, 3])
    report = learn_task(client, people.task_id, folder=tmp_path / "out")
    coco = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert len(coco["images"]) == len(list((tmp_path / "out" / "images").iterdir())) == 2
    assert len(coco["annotations"]) == 3
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert "frames 0, 3." in card
    assert "| deleted | 2 |" in card
    assert f"| {people.jobs[0].id}" not in card
    [of_version] = read_learned(client.url, None, people.task_id).evidence["Boxes"][people.task_id]
    [run] = of_version.runs
    assert f"| {run} |" in card
    assert report.exported.frames == 2


def test_nothing_is_kept_if_the_export_fails(client, annotated, tmp_path, learned_dir):
    people = annotated(2)
    for shape in people.shapes(0):
        people.delete(shape)
    with pytest.raises(NothingToExportError):
        learn_task(client, people.task_id, folder=tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    with pytest.raises(ValueError, match="full"):
        learn_task(client, people.task_id, folder=tmp_path / "full")
    assert not list(learned_dir.rglob("*.json"))
    assert not (tmp_path / "out").exists()


def test_dry_run_keeps_nothing(client, annotated, tmp_path, learned_dir):
    people = annotated(2)
    correct(people, [0])
    report = learn_task(client, people.task_id, folder=tmp_path / "out", dry_run=True)
    assert report.functions["Boxes"].shapes == 2
    assert "dry run: nothing is kept" in report.lines()[1]
    assert not list(learned_dir.rglob("*.json"))
    assert not (tmp_path / "out").exists()


def test_names_are_no_markdown_on_the_card(client, annotated, tmp_path):
    people = annotated(2)
    name = "![x](http://evil.example/t.png) [ok](javascript:alert(1))"
    client._transport.json("PATCH", f"/api/tasks/{people.task_id}", body={"name": name})
    correct(people, [0])
    learn_task(client, people.task_id, folder=tmp_path / "out")
    title = (tmp_path / "out" / "MODEL_CARD.md").read_text().splitlines()[0]
    assert title.startswith(f"# Corrected frames of task {people.task_id}: \\!\\[x\\]\\(http\\:")
    assert "](" not in title


def test_annotations_of_no_recorded_run_are_counted_apart(client, annotated):
    people = annotated(2)
    people.draw(0, [40, 30, 60, 45], source="auto", score=0.7)
    report = learn_task(client, people.task_id, looked_at=[0])
    assert (report.without_score, report.of_no_run, report.functions["Boxes"].shapes) == (0, 1, 2)
    assert "of no recorded run, nothing is learned from them: 1" in report.lines()
