"""Exporting tasks of a sandbox over HTTP: tracks, videos, failed frames, arguments that are refused."""

import sys
from unittest.mock import Mock

import PIL.Image
import pytest

from clips import clip, number_on, reader
from export.exported import Boxes, Everything, box, draw, files_in, labels_of, read_by_pycocotools
from pictures import picture
from prefect_cvat.auto_annotation import (
    annotate_task,
    label_spec,
)
from prefect_cvat.exceptions import (
    BadFunctionError,
    InvalidResponseError,
    MediaError,
    MissingLibraryError,
    NothingToExportError,
    StorageError,
)
from prefect_cvat.export import annotation_source, export_task
from prefect_cvat.options.run_options import Options


def test_exports_existing_annotations_with_tracks(client, make_task, tmp_path):
    task_id = make_task(5)
    car = labels_of(client, task_id)["car"]
    track = {
        "frame": 1,
        "label_id": car,
        "source": "manual",
        "shapes": [
            {"type": "rectangle", "frame": frame, "points": [x, 0, x + 10, 10], "outside": outside}
            for frame, x, outside in [(1, 0, False), (3, 20, True)]
        ],
    }
    machine = box(0, car, source="auto", score=0.7)
    draw(client, task_id, [machine, box(4, car, source="manual")], tracks=[track])
    options = Options(frames=range(4))
    everything = export_task(client, task_id, folder=tmp_path / "all", options=options)
    dataset = read_by_pycocotools(tmp_path / "all")
    assert sorted(
        (item["image_id"] - 1, *item["bbox"]) for item in dataset.loadAnns(dataset.getAnnIds())
    ) == [
        (0, 10, 10, 20, 20),
        (1, 0, 0, 10, 10),
        (2, 10, 0, 10, 10),
    ]
    assert everything.left_out == {"frames: not selected": 1}
    assert everything.empty_frames == 1
    assert everything.source == "all annotations"

    left = export_task(client, task_id, folder=tmp_path / "left", left_by_runs=True, images=False)
    [item] = read_by_pycocotools(tmp_path / "left").loadAnns([1])
    assert (item["bbox"], item["score"]) == ([10, 10, 20, 20], 0.7)
    assert (left.frames, left.empty_frames, left.images) == (5, 4, False)
    assert files_in(tmp_path / "left") == ["annotations.json"]


def test_frames_of_a_video_are_written_as_numbered_jpegs(client, video_task, tmp_path):
    pytest.importorskip("av", reason="PyAV, which videos need, is not installed")
    task_id = video_task(clip(range(6)))
    options = Options(frames=[1, 2, 5])
    for again in (
        False,
        True,
    ):  # the second time nothing is detected, but the chunks are fetched again
        folder = tmp_path / f"set-{again}"
        done = export_task(client, task_id, reader(version="reader"), folder=folder, options=options)
        names = [f"images/frame_00000{number}.jpg" for number in (1, 2, 5)]
        assert files_in(folder) == ["annotations.json", *names]
        assert [number_on(PIL.Image.open(folder / name)) for name in names] == [1, 2, 5]
        assert done.renamed == []
        assert done.frames_from_cache == (3 if again else 0)
        dataset = read_by_pycocotools(folder)
        widths = {
            dataset.loadImgs(item["image_id"])[0]["file_name"]: item["bbox"][2]
            for item in dataset.loadAnns(dataset.getAnnIds())
        }
        assert widths == {"frame_000001.jpg": 2, "frame_000002.jpg": 3, "frame_000005.jpg": 6}


def test_cached_detections_are_used(client, make_task, tmp_path):
    task_id = make_task(4)
    function = Boxes()
    annotate_task(client, task_id, function)
    assert len(function.seen) == 4
    options = Options(frames=[0, 2, 3])
    done = export_task(client, task_id, function, folder=tmp_path / "set", options=options)
    assert len(function.seen) == 4
    assert (done.frames, done.frames_from_cache) == (3, 3)
    assert files_in(tmp_path / "set" / "images") == ["0000.png", "0002.png", "0003.png"]


def test_failed_frames_are_not_in_the_dataset(client, make_task, tmp_path):
    class Failing(Boxes):
        version = "failing"

        def detect(self, context, image):
            if context.frame_name == "0002.png":
                raise RuntimeError("no idea")
            return super().detect(context, image)

    task_id = make_task(4)
    with pytest.raises(BadFunctionError, match="no idea"):
        export_task(client, task_id, Failing(), folder=tmp_path / "set", format="yolo")
    assert list(tmp_path.iterdir()) == []
    options = Options(on_frame_error="skip")
    done = export_task(client, task_id, Failing(), folder=tmp_path / "set", format="yolo", options=options)
    assert files_in(tmp_path / "set" / "images") == ["0000.png", "0001.png", "0003.png"]
    assert files_in(tmp_path / "set" / "labels") == ["0000.txt", "0001.txt", "0003.txt"]
    assert done.frames == 3
    assert "no idea" in done.frame_errors[2]


def test_invalid_arguments_are_refused(client, make_task, tmp_path):
    task_id = make_task(2)
    target = tmp_path / "set"
    with pytest.raises(ValueError, match="must be one of 'coco', 'yolo', not 'voc'"):
        export_task(client, task_id, folder=target, format="voc")
    with pytest.raises(ValueError, match="leave out the function, or left_by_runs"):
        export_task(client, task_id, Boxes(), folder=target, left_by_runs=True)
    with pytest.raises(NothingToExportError, match="there are no annotations on the 2 frames"):
        export_task(client, task_id, folder=target)
    with pytest.raises(NothingToExportError, match="there are no automatic annotations"):
        export_task(client, task_id, folder=target, left_by_runs=True)
    with pytest.raises(BadFunctionError, match="does not fit task"):
        export_task(client, task_id, Everything(), folder=target)
    with pytest.raises(ValueError, match="it has no frame 9"):
        export_task(client, task_id, folder=target, options=Options(frames=[9]))
    with pytest.raises(
        NothingToExportError, match=r"no frames to export; all are left out: not selected \(2\)"
    ):
        export_task(client, task_id, folder=target, options=Options(frames=[]))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="the dataset cannot be written to"):
        export_task(client, task_id, Boxes(), folder=tmp_path / "file" / "set")
    assert files_in(tmp_path) == ["file"]


@pytest.mark.parametrize("format", ["coco", "yolo"])
def test_error_names_an_invalid_mask(client, make_task, tmp_path, format):
    task_id = make_task(1, labels=[label_spec("cell", None)])
    draw(
        client,
        task_id,
        [{"type": "mask", "frame": 0, "label_id": labels_of(client, task_id)["cell"], "points": [0, 9, 60, 40, 68, 40]}],
    )  # fmt: skip
    with pytest.raises(InvalidResponseError, match=r"the mask \d+ on frame 0 \(0000.png\) cannot be read"):
        export_task(client, task_id, folder=tmp_path / "set", format=format)
    assert list(tmp_path.iterdir()) == []


def test_missing_library_fails_before_any_request(client, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision.dataset.formats.yolo", None)
    with pytest.raises(MissingLibraryError, match=r'pip install "prefect-cvat\[export\]"'):
        export_task(client, 10**9, folder=tmp_path / "set", format="yolo")


def test_copies_images_that_are_too_large_to_be_decoded(client, make_task, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_MAX_IMAGE_BYTES", str(2**22))
    task_id = make_task(2, size=(1600, 1200))
    [job] = client.jobs(task_id)
    [label, _] = client.labels(task_id)
    shape = {"label_id": label.id, "frame": 0, "type": "rectangle", "points": [1, 1, 9, 9]}
    client.create_job_annotations(job.id, {"version": 0, "tags": [], "shapes": [shape], "tracks": []})
    done = export_task(client, task_id, folder=tmp_path / "copied")
    for number in range(2):
        copied = done.folder / "images" / f"{number:04}.png"
        assert copied.read_bytes() == picture(1600, 1200, seed=number)


class RecordedProgress:
    """Notes what is called."""

    def __init__(self):
        self.calls = []

    def start(self, total):
        self.calls.append(("start", total))

    def advance(self, frames):
        self.calls.append(("advance", frames))

    def finish(self):
        self.calls.append(("finish",))


def test_failed_export_of_existing_annotations_ends_its_progress(client, make_task, tmp_path, monkeypatch):
    task_id = make_task(2)
    shape = {
        "type": "rectangle",
        "frame": 0,
        "label_id": client.labels(task_id)[0].id,
        "points": [1, 1, 5, 5],
        "source": "manual",
    }
    client.create_job_annotations(client.jobs(task_id)[0].id, {"shapes": [shape], "tags": [], "tracks": []})
    monkeypatch.setattr(annotation_source, "fetch_chunk", Mock(side_effect=MediaError("no such chunk")))
    progress = RecordedProgress()
    with pytest.raises(MediaError, match="no such chunk"):
        export_task(client, task_id, folder=tmp_path / "set", progress=progress)
    assert progress.calls == [("start", 2), ("finish",)]
