"""Exporting what was found, on tasks of a sandbox over HTTP; read back by pycocotools and supervision."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import yaml
from click.testing import CliRunner
from pycocotools.coco import COCO

from clips import clip, number_on, reader
from coco_photos import create_task, read_coco
from command_line import run_code, run_command_text
from pictures import picture
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    annotate_task,
    checkbox_attribute_spec,
    keypoint,
    keypoint_spec,
    label_spec,
    mask,
    number_attribute_spec,
    points,
    polygon,
    polyline,
    rectangle,
    skeleton,
    skeleton_label_spec,
    tag,
)
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.cli.app import app
from prefect_cvat.exceptions import (
    BadFunctionError,
    InvalidResponseError,
    MissingLibraryError,
    NothingToExportError,
    StorageError,
)
from prefect_cvat.export import export_task
from prefect_cvat.export.file_names import FileNames
from prefect_cvat.export.image_folder import ImageFolder
from prefect_cvat.export.output_folder import LOCK
from prefect_cvat.frames import ChunkFile, Frame
from prefect_cvat.masks import encode_mask
from prefect_cvat.models import AttributeValRequest
from prefect_cvat.options.run_options import Options

SIZE = (64, 48)
RING = np.zeros(SIZE[::-1], dtype=bool)
RING[10:30, 20:50] = True
RING[15:20, 30:40] = False


def read_by_pycocotools(folder):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(folder / "annotations.json")


def read_by_supervision(folder, **options):
    import supervision

    return supervision.DetectionDataset.from_yolo(
        str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml"), **options
    )


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def labels_of(client, task_id):
    return {label.name: label.id for label in client.labels(task_id)}


def draw(client, task_id, shapes=(), tags=(), tracks=()):
    [job] = client.jobs(task_id)
    body = {"shapes": list(shapes), "tags": list(tags), "tracks": list(tracks)}
    client.create_job_annotations(job.id, body)


def box(frame, label_id, corners=(10, 10, 30, 30), **fields):
    return {"type": "rectangle", "frame": frame, "label_id": label_id, "points": list(corners)} | fields


class Boxes:
    """Finds a car on every frame but the second, and a person in whom it hardly believes."""

    spec = DetectionFunctionSpec(labels=[label_spec("person", 1), label_spec("car", 2)])
    version = "boxes"

    def __init__(self):
        self.seen = []

    def detect(self, context, image):
        self.seen.append(context.frame_name)
        if context.frame_name == "0001.png":
            return []
        return [rectangle(2, [10.25, 10, 30, 30.5], score=0.9), rectangle(1, [-5, 0, 70, 20], score=0.3)]


class Everything:
    """Finds one of each kind of shape on every frame."""

    spec = DetectionFunctionSpec(
        labels=[
            label_spec(
                "car",
                1,
                attributes=[
                    checkbox_attribute_spec("parked", 11),
                    number_attribute_spec("doors", 12, ["1", "5", "1"]),
                ],
            ),
            skeleton_label_spec("bird", 2, [keypoint_spec("beak", 21), keypoint_spec("tail", 22)]),
        ]
    )

    def detect(self, context, image):
        values = [AttributeValRequest(11, "true"), AttributeValRequest(12, "4")]
        return [
            rectangle(1, [1, 2, 11, 12], score=0.5, attributes=values),
            polygon(1, [5, 5, 20, 5, 20, 25], score=0.6),
            mask(1, encode_mask(RING, [0, 0, *SIZE])),
            rectangle(1, [40, 2, 60, 12], rotation=90.0),
            skeleton(2, [keypoint(21, [3, 4]), keypoint(22, [13, 24], outside=True)]),
            polyline(1, [1, 1, 5, 5]),
            points(1, [1, 1]),
            tag(1),
        ]  # fmt: skip


@pytest.fixture
def everything_task(make_task):
    def make(frames=1):
        return make_task(frames, labels=Everything.spec.labels)

    return make


@pytest.fixture(scope="module")
def photographs(sandbox, test_data):
    """A task of four photographs of COCO, with its 80 labels."""
    from prefect_cvat import Client

    truth = read_coco(test_data, "instances")
    truth["images"] = truth["images"][:4]
    with Client(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        specs = [label_spec(category["name"], None) for category in truth["categories"]]
        return create_task(client, test_data, truth, specs, chunk_size=2)[0]


def test_exports_what_annotate_task_writes_with_get_requests_only(
    photographs, sandbox, client, test_data, tmp_path
):
    function = load_function("nanodet_detection", {})
    options = Options(conf_threshold=0.4, label_thresholds={"person": 0.6}, open_issues=2)
    watch = {"path": "", "fault": {"kind": "latency", "seconds": 0}}
    sandbox.faults.set([watch])
    try:
        coco = export_task(client, photographs, function, folder=tmp_path / "coco", options=options)
        asked = {entry.method for entry in sandbox.faults.log()}
    finally:
        sandbox.faults.clear()
    assert asked == {"GET"}
    assert coco.frames_from_cache == 0

    yolo = export_task(
        client, photographs, function, folder=tmp_path / "yolo", format="yolo", options=options
    )
    assert yolo.frames_from_cache == yolo.frames == 4
    run = annotate_task(client, photographs, function, conf_threshold=0.4, label_thresholds={"person": 0.6})
    assert run.frames_from_cache == 4
    assert coco.labels == yolo.labels == run.labels
    assert coco.left_out == {"shapes below the score threshold": run.below_threshold}

    written = client.task_annotations(photographs).shapes
    names = {label.id: label.name for label in client.labels(photographs)}
    frames = client.meta(photographs).frames
    expected = sorted(
        (frames[shape["frame"]].name, names[shape["label_id"]], *shape["points"], shape["score"])
        for shape in written
    )
    assert len(expected) > 10

    dataset = read_by_pycocotools(tmp_path / "coco")
    categories = {category["id"]: category["name"] for category in dataset.loadCats(dataset.getCatIds())}
    assert list(categories.values()) == list(names.values())
    found = []
    for item in dataset.loadAnns(dataset.getAnnIds()):
        [image] = dataset.loadImgs(item["image_id"])
        x, y, width, height = item["bbox"]
        assert (item["area"], item["segmentation"], item["iscrowd"]) == (width * height, [], 0)
        found.append(
            (image["file_name"], categories[item["category_id"]], x, y, x + width, y + height, item["score"])
        )
    for one, other in zip(sorted(found), expected, strict=True):
        assert one[:2] == other[:2]
        assert one[2:] == pytest.approx(other[2:])

    dataset = read_by_supervision(tmp_path / "yolo")
    assert dataset.classes == list(names.values())
    found = [
        (Path(path).name, dataset.classes[detections.class_id[i]], *detections.xyxy[i].tolist())
        for path, _, detections in dataset
        for i in range(len(detections))
    ]
    for one, other in zip(sorted(found), expected, strict=True):
        assert one[:2] == other[:2]
        assert one[2:] == pytest.approx(other[2:6], abs=0.01)  # of pixels: five digits of the width
    for folder in ("coco", "yolo"):
        for path in (tmp_path / folder / "images").iterdir():
            assert path.read_bytes() == (test_data / "coco-photos" / "images" / path.name).read_bytes()


def test_yolo_has_a_file_for_each_image_and_classes_in_the_order_of_the_task(client, make_task, tmp_path):
    task_id = make_task(3)
    function = Boxes()
    done = export_task(client, task_id, function, folder=tmp_path / "set", format="yolo")
    assert files_in(tmp_path / "set") == [
        "data.yaml",
        *(f"images/000{i}.png" for i in range(3)),
        *(f"labels/000{i}.txt" for i in range(3)),
    ]
    settings = yaml.safe_load((tmp_path / "set" / "data.yaml").read_text())
    assert settings == {"train": "images", "val": "images", "names": {0: "car", 1: "person"}}
    assert (tmp_path / "set" / "labels" / "0001.txt").read_text() == ""
    # centre and size in parts of 64 x 48; the person is cut at the edges of the image
    assert (tmp_path / "set" / "labels" / "0000.txt").read_text().splitlines() == [
        "0 0.31445 0.42188 0.30859 0.42708",
        "1 0.50000 0.20833 1.00000 0.41667",
    ]
    assert (done.frames, done.empty_frames, done.labels) == (3, 1, {"car": 2, "person": 2})
    assert not done.outlines
    assert "1 of them without annotations" in done.lines()[1]
    assert done.lines()[2] == "4 boxes"


def test_coco_has_each_type_of_shape(client, everything_task, tmp_path):
    task_id = everything_task()
    done = export_task(client, task_id, Everything(), folder=tmp_path / "set")
    dataset = read_by_pycocotools(tmp_path / "set")
    rectangle, polygon, mask, turned, bird = dataset.loadAnns(dataset.getAnnIds())
    assert rectangle["attributes"] == {"occluded": False, "parked": True, "doors": 4.0}
    assert rectangle["bbox"] == [1, 2, 10, 10]
    assert polygon["segmentation"] == [[5, 5, 20, 5, 20, 25]]
    assert polygon["area"] == pytest.approx(150, rel=0.1)
    assert (dataset.annToMask(mask).astype(bool) == RING).all()
    assert (mask["area"], mask["bbox"], mask["iscrowd"]) == (RING.sum(), [0, 0, *SIZE], 0)
    assert turned["bbox"] == pytest.approx([45, -3, 10, 20])
    assert bird["keypoints"] == [3, 4, 2, 0, 0, 0]
    assert bird["num_keypoints"] == 1
    [category] = dataset.loadCats(bird["category_id"])
    assert category["keypoints"] == ["beak", "tail"]
    assert [item["score"] for item in (rectangle, polygon, mask)] == [0.5, 0.6, 1.0]
    assert done.left_out == {"shapes of type polyline": 1, "shapes of type points": 1, "tags": 1}
    assert done.labels == {"car": 4, "bird": 1}


def test_yolo_writes_outlines_if_any_shape_has_one_and_counts_unsupported_shapes(
    client, everything_task, tmp_path
):
    task_id = everything_task()
    done = export_task(client, task_id, Everything(), folder=tmp_path / "set", format="yolo")
    dataset = read_by_supervision(tmp_path / "set")
    [(_, _, detections)] = dataset
    assert dataset.classes == ["car", "bird"]
    assert (detections.mask[2] == RING).all()  # also its hole
    boxes = detections.xyxy.tolist()
    assert boxes[0] == pytest.approx([1, 2, 11, 12], abs=0.01)
    assert boxes[1] == pytest.approx([5, 5, 20, 25], abs=0.01)
    assert boxes[3] == pytest.approx([45, 0, 55, 17], abs=0.01)  # turned, and cut at the upper edge
    [file] = (tmp_path / "set" / "labels").iterdir()
    assert all(len(line.split()) >= 7 for line in file.read_text().splitlines())
    assert done.left_out == {
        "shapes of type skeleton": 1,
        "shapes of type polyline": 1,
        "shapes of type points": 1,
        "tags": 1,
    }
    assert done.outlines


def test_yolo_counts_approximated_masks(client, make_task, tmp_path):
    two = np.zeros(SIZE[::-1], dtype=bool)
    two[5:15, 5:15] = two[25:35, 5:15] = True
    line = np.zeros(SIZE[::-1], dtype=bool)
    line[40, 10:30] = True
    task_id = make_task(1, labels=[label_spec("cell", None)])
    cell = labels_of(client, task_id)["cell"]
    shapes = [
        {"type": "mask", "frame": 0, "label_id": cell, "points": encode_mask(bitmap)}
        for bitmap in (two, line)
    ]
    draw(client, task_id, [*shapes, box(0, cell, (70, 2, 80, 9))])
    done = export_task(client, task_id, folder=tmp_path / "set", format="yolo")
    [(_, _, detections)] = read_by_supervision(tmp_path / "set")
    assert sorted(detections.xyxy.round(1).tolist()) == [[5, 5, 14, 14], [5, 25, 14, 34], [10, 40, 30, 41]]
    assert done.labels == {"cell": 2}
    assert done.approximated == {"masks of several parts, each written as an object": 1}
    assert done.left_out == {"shapes outside the image": 1}


@pytest.mark.parametrize("format", ["coco", "yolo"])
def test_empty_shapes_are_not_exported(client, make_task, tmp_path, format):
    task_id = make_task(1, labels=[label_spec("cell", None)])
    cell = labels_of(client, task_id)["cell"]
    empty = {"type": "mask", "frame": 0, "label_id": cell, "points": [1, 0, 0, 0, 0]}
    draw(client, task_id, [empty, box(0, cell, (5, 5, 5, 9)), box(0, cell, (5, 5, 9, 9))])
    done = export_task(client, task_id, folder=tmp_path / "set", format=format)
    assert (done.labels, done.left_out) == ({"cell": 1}, {"empty shapes": 2})


def test_yolo_writes_any_mask_as_outlines(client, make_task, tmp_path):
    """Noise, of which not all holes can be joined to their outlines."""
    random = np.random.default_rng(0)
    task_id = make_task(1, labels=[label_spec("cell", None)])
    cell = labels_of(client, task_id)["cell"]
    bitmaps = [random.random(SIZE[::-1]) < density for density in (0.5, 0.6, 0.7, 0.8, 0.9)]
    draw(
        client,
        task_id,
        [{"type": "mask", "frame": 0, "label_id": cell, "points": encode_mask(each)} for each in bitmaps],
    )
    done = export_task(client, task_id, folder=tmp_path / "set", format="yolo")
    assert done.labels == {"cell": 5}
    assert done.approximated["masks whose holes are filled"] == 2
    [(_, _, detections)] = read_by_supervision(tmp_path / "set")
    masks = np.logical_or.reduce(detections.mask)
    assert masks[np.logical_or.reduce(bitmaps)].mean() > 0.99


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
    ):  # the second time nothing is detected, and the chunks are fetched all the same
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


HOSTILE = {
    "../../etc/passwd.png": "etc/passwd.png",
    "/abs/a.png": "abs/a.png",
    r"C:\photos\b.png": "C_/photos/b.png",
    "line\nbreak.png": "line_break.png",
    "...": "frame_000004",
    "day 1/c.png": "day 1/c.png",
    "day 1/C.PNG": "day 1/C_6.PNG",
    "day 1/c.jpg": "day 1/c_7.jpg",
    "day 1/c_7.jpg": "day 1/c_7_8.jpg",
    "x" * 300 + ".png": "x" * 200 + ".png",
    "photo": "photo",
    "ä.png": "ä.png",
    "a\u0308.png": "a\u0308_12.png",
}


def test_file_names_are_within_the_folder_and_unique_without_suffix():
    frames = [Frame(number, name, 8, 8) for number, name in enumerate(HOSTILE)]
    names = FileNames(frames, of_video=False)
    assert [names.image(frame) for frame in frames] == list(HOSTILE.values())
    texts = [names.text(frame).casefold() for frame in frames]
    assert len(set(texts)) == len(texts)
    unchanged = {name for name, file in HOSTILE.items() if name == file}
    assert {name for name, _ in names.changed(frames)} == HOSTILE.keys() - unchanged


def test_images_with_hostile_names_or_wrong_suffixes_are_stored_safely(tmp_path):
    chunk = ChunkFile(0, tmp_path / "chunk.zip", 0, 3)
    frames = [Frame(0, "../out.png", 64, 48), Frame(1, "a.png", 64, 48), Frame(2, "b", 64, 48)]
    formats = ["PNG", "JPEG", "WEBP"]
    with zipfile.ZipFile(chunk.path, "w") as archive:
        for number, kind in enumerate(formats):
            archive.writestr(f"{number}", picture(image_format=kind))
    folder = tmp_path / "images"
    ImageFolder(folder, FileNames(frames, of_video=False)).save(chunk, frames)
    assert files_in(tmp_path) == ["chunk.zip", "images/a.jpg", "images/b.webp", "images/out.png"]
    for name, kind in zip(["out.png", "a.jpg", "b.webp"], formats, strict=True):
        assert (folder / name).read_bytes() == picture(image_format=kind)


def test_folder_that_is_not_empty_is_refused(client, make_task, tmp_path):
    task_id = make_task(1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("work")
    (tmp_path / "file").write_text("work")
    for name in ("full", "file"):
        function = Boxes()
        with pytest.raises(ValueError, match="nothing is overwritten"):
            export_task(client, task_id, function, folder=tmp_path / name)
        assert function.seen == []
    assert files_in(tmp_path) == ["file", "full/precious"]
    (tmp_path / "empty").mkdir()
    export_task(client, task_id, Boxes(), folder=tmp_path / "empty")
    assert files_in(tmp_path / "empty") == ["annotations.json", "images/0000.png"]


def test_interrupted_export_leaves_nothing(client, make_task, tmp_path):
    class Interrupted(Boxes):
        version = None

        def detect(self, context, image):
            if len(self.seen) == 2:
                assert list(tmp_path.rglob("0000.png"))  # it is on its way, not in its place
                assert not (tmp_path / "set").exists()
                os.kill(os.getpid(), signal.SIGINT)
            return super().detect(context, image)

    with pytest.raises(KeyboardInterrupt):
        export_task(client, make_task(4), Interrupted(), folder=tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


WRITES_UNTIL_IT_IS_KILLED = """
import sys, time
from types import SimpleNamespace
from prefect_cvat import Client
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec
from prefect_cvat.export import export_task

def detect(context, image):
    print("at work", flush=True)
    time.sleep(600)

url, user, password, task, folder = sys.argv[1:]
function = SimpleNamespace(spec=DetectionFunctionSpec(labels=[label_spec("car", 1)]), detect=detect)
with Client(url) as client:
    client.login((user, password))
    export_task(client, int(task), function, folder=folder)
"""


@contextlib.contextmanager
def at_work(sandbox, task_id, folder):
    """Another process that exports, has written a part, and goes no further."""
    told = [sandbox.url, sandbox.user, sandbox.password, str(task_id), str(folder)]
    command = [sys.executable, "-c", WRITES_UNTIL_IT_IS_KILLED, *told]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "at work\n"
            yield process
        finally:
            process.kill()


def hidden_in(folder):
    return {path for path in folder.iterdir() if path.name.startswith(".")}


def test_next_export_removes_what_a_killed_one_left(client, sandbox, make_task, tmp_path):
    task_id = make_task(2)
    with at_work(sandbox, task_id, tmp_path / "set") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    [left] = hidden_in(tmp_path)
    assert list(left.rglob("*.png"))
    export_task(client, task_id, Boxes(), folder=tmp_path / "other")
    assert hidden_in(tmp_path) == {left}  # it was another place
    export_task(client, task_id, Boxes(), folder=tmp_path / "set")
    assert hidden_in(tmp_path) == set()
    assert (tmp_path / "set" / "annotations.json").is_file()


def test_export_removes_no_folder_that_is_locked_or_foreign(client, sandbox, make_task, tmp_path):
    task_id = make_task(2)
    elsewhere = tmp_path / "elsewhere"
    for folder in (tmp_path / ".set.mine", tmp_path / ".set.with_lock", elsewhere):
        (folder / "set").mkdir(parents=True)
        (folder / "set" / "precious").write_text("work")
    for folder in (tmp_path / ".set.with_lock", elsewhere):
        (folder / LOCK).touch()
    (tmp_path / ".set.with_lock" / "precious").write_text("work")  # we put nothing else there
    (tmp_path / ".set.link").symlink_to(elsewhere)
    (tmp_path / ".set.file").write_text("work")
    before = hidden_in(tmp_path)
    with at_work(sandbox, task_id, tmp_path / "set"):
        [of_other] = hidden_in(tmp_path) - before
        was_there = files_in(tmp_path)
        export_task(client, task_id, Boxes(), folder=tmp_path / "set")
        assert hidden_in(tmp_path) == before | {of_other}
        assert set(was_there) <= set(files_in(tmp_path))


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
    with pytest.raises(MissingLibraryError, match=r"pip install 'prefect-cvat\[export\]'"):
        export_task(client, 10**9, folder=tmp_path / "set", format="yolo")


FUNCTION = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

class Boxes:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1), label_spec("person", 2)])
    def detect(self, context, image):
        return [rectangle(1, [0, 0, 20, 20], score=0.8), rectangle(2, [30, 0, 50, 20], score=0.3)]

create = Boxes
"""


def run(sandbox, *arguments, code=None):
    words = [
        "--server-host",
        sandbox.url,
        "--auth",
        f"{sandbox.user}:{sandbox.password}",
        "export",
        *arguments,
    ]
    return run_command_text(*words) if code is None else run_code(code, *words)


def test_command_prints_the_report(sandbox, make_task, tmp_path):
    (tmp_path / "boxes.py").write_text(FUNCTION)
    task_id = make_task(3)
    done = run(
        sandbox,
        *(task_id, "--function-file", tmp_path / "boxes.py", "--conf-threshold", "0.5", "--frames", "0-1"),
        *("--format", "yolo", "--to", tmp_path / "set", "--report", tmp_path / "report.json"),
    )
    assert done.returncode == 0, done.stderr
    assert f"written as yolo to {tmp_path / 'set'}" in done.stdout
    assert "left out: shapes below the score threshold (2)" in done.stdout
    assert len(read_by_supervision(tmp_path / "set")) == 2
    assert json.loads((tmp_path / "report.json").read_text())["labels"] == {"car": 2}


def test_command_refuses_conflicting_options(tmp_path):
    cases = [
        (["--function", "nanodet_detection", "--left-by-run"], "give a function or --left-by-run"),
        (["--conf-threshold", "0.5"], "go with a function; name one"),
    ]
    for arguments, message in cases:
        done = CliRunner().invoke(app, ["export", "1", "--to", str(tmp_path / "set"), *arguments])
        assert done.exit_code == 2
        assert message in " ".join(done.output.split())


SMALL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from prefect_cvat.cli.main import main
main()
"""


def test_command_fails_with_one_line_when_the_disk_is_full(sandbox, client, make_task, tmp_path):
    task_id = make_task(1)
    car = labels_of(client, task_id)["car"]
    draw(client, task_id, [box(0, car, (i / 10, 0, 50, 40)) for i in range(200)])
    done = run(sandbox, task_id, "--no-images", "--to", tmp_path / "set", code=SMALL_DISK)
    assert done.returncode == 1, done.stderr
    assert "error: the dataset cannot be written to" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_command_refuses_to_overwrite(sandbox, make_task, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("work")
    done = run(sandbox, make_task(1), "--to", tmp_path / "full")
    assert done.returncode == 2
    assert "is not empty; nothing is overwritten" in done.stderr
    assert "Traceback" not in done.stderr
    assert files_in(tmp_path) == ["full/precious"]


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
