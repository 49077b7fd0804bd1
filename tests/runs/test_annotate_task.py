"""annotate_task against the sandbox, over real HTTP: what it writes, and the effect of bad input."""

from types import SimpleNamespace

import pytest

from prefect_cvat import annotate_task, models
from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionFunctionSpec,
    label_spec,
    polygon,
    rectangle,
    tag,
)
from prefect_cvat.exceptions import MediaError, NotFoundError, PrefectCvatError
from served_chunks import with_chunks, without_chunks

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7), label_spec("person", 8)])


def a_function(detect, spec=SPEC):
    return SimpleNamespace(spec=spec, detect=detect)


def one_car(context, image):
    return [rectangle(7, [1, 2, 11, 12], score=0.5)]


def annotations_of(client, task_id):
    found = [client.job_annotations(job.id) for job in client.jobs(task_id)]
    return [tag for data in found for tag in data.tags], [shape for data in found for shape in data.shapes]


def test_writes_shapes_and_tags_with_the_tasks_labels_and_the_score(client, make_task):
    task_id = make_task(5, segment_size=2)
    seen = []

    def detect(context, image):
        seen.append((context.frame_name, image.size, context.conf_threshold, context.conv_mask_to_poly))
        return [
            rectangle(7, [1, 2, 11, 12], score=0.5),
            polygon(8, [1, 1, 9, 1, 9, 9], score=0.25),
            tag(8),
        ]

    report = annotate_task(client, task_id, a_function(detect))

    assert seen == [(f"{i:04}.png", (64, 48), None, False) for i in range(5)]
    labels = {label.name: label.id for label in client.labels(task_id)}
    tags, shapes = annotations_of(client, task_id)
    assert [(t["frame"], t["label_id"], t["source"]) for t in tags] == [
        (i, labels["person"], "auto") for i in range(5)
    ]
    assert [(s["frame"], s["type"], s["label_id"], s["points"], s["score"], s["source"]) for s in shapes] == [
        item
        for i in range(5)
        for item in (
            (i, "rectangle", labels["car"], [1, 2, 11, 12], 0.5, "auto"),
            (i, "polygon", labels["person"], [1, 1, 9, 1, 9, 9], 0.25, "auto"),
        )
    ]
    assert report.frames == 5
    assert report.labels == {"car": 5, "person": 10}
    assert report.added == 15


def test_second_run_adds_nothing(client, make_task):
    task_id = make_task(4)
    annotate_task(client, task_id, a_function(one_car))
    report = annotate_task(client, task_id, a_function(one_car))
    assert (report.added, report.already_there) == (0, 4)
    assert len(annotations_of(client, task_id)[1]) == 4


@pytest.mark.parametrize(
    ("existing", "left"), [("keep", {"manual", "auto"}), ("replace_auto", {"manual"}), ("clear", set())]
)
def test_existing_options(client, make_task, existing, left):
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    label = client.labels(task_id)[0].id
    old = [
        {"type": "rectangle", "frame": 0, "label_id": label, "points": [5, 5, 9, 9], "source": source}
        for source in ("manual", "auto")
    ]
    track = {
        "frame": 0,
        "label_id": label,
        "source": "manual",
        "shapes": [{"type": "rectangle", "frame": 0, "points": [5, 5, 9, 9], "outside": False}],
    }
    client.create_job_annotations(job.id, {"shapes": old, "tracks": [track]})
    before = client.job_annotations(job.id)

    report = annotate_task(client, task_id, a_function(one_car), existing=existing)

    after = client.job_annotations(job.id)
    kept = [shape for shape in before.shapes if shape["source"] in left]
    assert [shape for shape in after.shapes if shape["points"] == [5, 5, 9, 9]] == kept
    assert len(after.shapes) == len(kept) + 2
    assert after.tracks == (before.tracks if "manual" in left else [])
    assert report.removed == 2 - len(kept) + (existing == "clear")


def test_frames_and_jobs_select_source_shapes(client, make_task):
    task_id = make_task(6, segment_size=2)
    jobs = client.jobs(task_id)
    report = annotate_task(
        client, task_id, a_function(one_car), frames=[0, 3, 4], jobs=[jobs[0].id, jobs[1].id]
    )
    assert [shape["frame"] for shape in annotations_of(client, task_id)[1]] == [0, 3]
    assert report.left_out == {"not selected": 4}


def test_skips_deleted_frames(client, make_task):
    task_id = make_task(4)
    client._transport.json("PATCH", f"/api/tasks/{task_id}/data/meta", body={"deleted_frames": [1]})
    report = annotate_task(client, task_id, a_function(one_car))
    assert [shape["frame"] for shape in annotations_of(client, task_id)[1]] == [0, 2, 3]
    assert report.left_out == {"deleted": 1}


def test_frame_in_two_jobs_is_written_to_both(client, make_task):
    task_id = make_task(5, segment_size=3, overlap=1)
    annotate_task(client, task_id, a_function(one_car))
    frames = {
        job.start_frame: [shape["frame"] for shape in client.job_annotations(job.id).shapes]
        for job in client.jobs(task_id)
    }
    assert frames == {0: [0, 1, 2], 2: [2, 3, 4]}


def test_functions_that_can_get_several_images_at_once(client, make_task):
    task_id = make_task(7, chunk_size=7)
    sizes = []

    def detect_batch(contexts, images):
        sizes.append(len(images))
        return [[rectangle(7, [0, 0, 1 + int(context.frame_name[:4]), 5])] for context in contexts]

    function = SimpleNamespace(spec=SPEC, detect_batch=detect_batch, batch_size=3)
    annotate_task(client, task_id, function)
    assert sizes == [1, 3, 3], "the first shows whether it reads pixels"
    assert [shape["points"][2] for shape in annotations_of(client, task_id)[1]] == [1, 2, 3, 4, 5, 6, 7]


# --- bad input ---


def raises(context, image):
    raise ZeroDivisionError("oh no")


def on_frame_3(detect):
    return lambda context, image: (detect if context.frame_name == "0003.png" else one_car)(context, image)


BAD_OUTPUT = {
    "raises": (raises, "frame 3 .*ZeroDivisionError: oh no"),
    "wrong type": (lambda c, i: [{"label_id": 7}], "frame 3 .*object of type 'dict'"),
    "not a sequence": (lambda c, i: None, "frame 3 .*object of type 'NoneType'"),
    "unknown label": (lambda c, i: [rectangle(99, [1, 2, 3, 4])], r"frame 3 .*unknown label ID \(99\)"),
    "nan": (lambda c, i: [rectangle(7, [1, 2, float("nan"), 4])], "frame 3 .*not finite"),
    "infinite": (lambda c, i: [polygon(7, [1, 2, float("inf"), 4, 5, 6])], "frame 3 .*not finite"),
    "too few points": (lambda c, i: [polygon(7, [1, 2, 3, 4])], "frame 3 .*polygon with 4 numbers"),
    "score": (lambda c, i: [rectangle(7, [1, 2, 3, 4], score=1.5)], "frame 3 .*score 1.5"),
    "preset id": (lambda c, i: [rectangle(7, [1, 2, 3, 4], id=5)], "frame 3 .*preset id"),
    "preset source": (lambda c, i: [tag(7, source="manual")], "frame 3 .*preset source"),
    "frame": (
        lambda c, i: [models.LabeledImageRequest(label_id=7, frame=3)],
        "frame 3 .*unexpected frame number",
    ),
}


@pytest.mark.parametrize(("detect", "message"), BAD_OUTPUT.values(), ids=BAD_OUTPUT)
def test_bad_output_is_named_and_the_task_is_unchanged(client, make_task, detect, message):
    task_id = make_task(6)
    [job] = client.jobs(task_id)
    label = client.labels(task_id)[0].id
    human = {"type": "rectangle", "frame": 0, "label_id": label, "points": [1, 2, 11, 12], "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [human]})
    before = client.job_annotations(job.id)

    with pytest.raises(BadFunctionError, match=message):
        annotate_task(client, task_id, a_function(on_frame_3(detect)), clear_existing=True)

    assert client.job_annotations(job.id) == before


def test_all_missing_labels_are_named_before_chunks_are_fetched(client, make_task, monkeypatch):
    task_id = make_task(2)
    spec = DetectionFunctionSpec(
        labels=[label_spec("Car", 0), label_spec("boat", 1), label_spec("person", 2)]
    )
    without_chunks(monkeypatch)
    with pytest.raises(BadFunctionError) as error:
        annotate_task(client, task_id, a_function(one_car, spec))
    assert str(error.value).startswith(f"the function does not fit task {task_id} in 2 points:")
    assert "label 'Car' is not in dataset; did you mean 'car'?" in str(error.value)
    assert "label 'boat' is not in dataset" in str(error.value)
    assert "person" not in str(error.value)
    assert "label_map" in str(error.value)


def test_drops_and_counts_unmatched_labels(client, make_task):
    task_id = make_task(2)
    spec = DetectionFunctionSpec(labels=[label_spec("boat", 7), label_spec("person", 8)])

    def detect(context, image):
        return [rectangle(7, [1, 2, 3, 4]), rectangle(8, [1, 2, 3, 4])]

    report = annotate_task(client, task_id, a_function(detect, spec), allow_unmatched_labels=True)
    assert report.unmatched == {"boat": 2}
    assert report.labels == {"person": 2}


def test_clips_shapes_and_counts_those_outside(client, make_task):
    task_id = make_task(1)

    def detect(context, image):
        return [rectangle(7, [-5, 10, 20, 100]), rectangle(7, [70, 10, 90, 20]), rectangle(7, [5, 5, 5, 9])]

    report = annotate_task(client, task_id, a_function(detect))
    assert [shape["points"] for shape in annotations_of(client, task_id)[1]] == [[0, 10, 20, 48]]
    assert (report.clipped, report.outside, report.empty_shapes) == (1, 1, 1)


def test_a_corrupt_image_names_its_frame(client, make_task, monkeypatch):
    task_id = make_task(4)

    def corrupt(params, data):
        if params["number"] == 1:  # frames 2 and 3: break the pixels of the second
            at = data.rindex(b"IDAT") + 50
            data = data[:at] + bytes(20) + data[at + 20 :]
        return data

    with_chunks(monkeypatch, corrupt)
    with pytest.raises(MediaError, match=r"frame 3 \(0003.png\)"):
        annotate_task(client, task_id, a_function(lambda c, image: image.load() and one_car(c, image)))
    assert annotations_of(client, task_id) == ([], [])


def test_frames_that_fail_may_be_skipped_and_are_reported(client, make_task):
    task_id = make_task(5)
    report = annotate_task(client, task_id, a_function(on_frame_3(raises)), on_frame_error="skip")
    assert [shape["frame"] for shape in annotations_of(client, task_id)[1]] == [0, 1, 2, 4]
    assert list(report.frame_errors) == [3]
    assert "ZeroDivisionError: oh no" in report.frame_errors[3]


def test_thresholds_drop_lower_scores(client, make_task):
    task_id = make_task(1)

    def detect(context, image):
        assert context.conf_threshold == 0.3
        return [rectangle(label, [1, 2, 3, 4 + i], score=i / 10) for label in (7, 8) for i in (2, 4, 6)]

    report = annotate_task(
        client, task_id, a_function(detect), conf_threshold=0.3, label_thresholds={"person": 0.5}
    )
    assert report.labels == {"car": 2, "person": 1}
    assert report.below_threshold == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conf_threshold": 1.5}, "conf_threshold must be"),
        ({"label_thresholds": {"boat": 0.5}}, "label_thresholds names label 'boat'"),
        ({"frames": [0, 77]}, "has no frame 77"),
        ({"jobs": [987654]}, "has no job 987654"),
        ({"existing": "drop"}, "existing must be 'keep', 'clear' or 'replace_auto', not 'drop'"),
        ({"existing": "keep", "clear_existing": True}, "contradicts"),
        ({"frames_per_batch": 0}, "frames_per_batch must be 1 or more"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_out_of_their_range_are_refused(client, make_task, options, message):
    with pytest.raises(ValueError, match=message):
        annotate_task(client, make_task(2), a_function(one_car), **options)


def test_refuses_functions_that_do_not_detect(client, make_task):
    from prefect_cvat.auto_annotation import TrackingFunctionSpec

    tracking = SimpleNamespace(spec=TrackingFunctionSpec(supported_shape_types=["rectangle"]))
    for function, message in (
        (tracking, "its spec is 'TrackingFunctionSpec'"),
        (SimpleNamespace(spec=SPEC), "it has no 'detect'"),
        (object(), "its spec is 'NoneType'"),
    ):
        with pytest.raises(BadFunctionError, match=message):
            annotate_task(client, make_task(1), function)


def test_missing_task_is_a_not_found_error(client):
    with pytest.raises(NotFoundError, match="no task 123456"):
        annotate_task(client, 123456, a_function(one_car))
    assert issubclass(NotFoundError, PrefectCvatError)


# --- progress ---


def test_progress_is_shown_on_a_tqdm_bar(client, make_task, capsys):
    import tqdm

    with tqdm.tqdm(desc="Auto-annotating", unit="frames") as bar:
        annotate_task(client, make_task(4), a_function(one_car), pbar=bar)
    assert (bar.n, bar.total) == (4, 4)


def test_reports_progress_to_reporter_of_the_sdk(client, make_task):
    from cvat_sdk.core.progress import ProgressReporter

    class Reporter(ProgressReporter):
        calls = []

        def start2(self, total, **kwargs):
            self.calls.append(("start", total))

        def advance(self, delta):
            self.calls.append(("advance", delta))

        def finish(self):
            self.calls.append(("finish",))

    annotate_task(client, make_task(4), a_function(one_car), pbar=Reporter())
    assert Reporter.calls[0] == ("start", 4)
    assert sum(call[1] for call in Reporter.calls[1:-1]) == 4
    assert Reporter.calls[-1] == ("finish",)
