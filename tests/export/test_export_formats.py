"""Datasets in the formats of COCO and YOLO, read back by pycocotools and supervision."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from export.exported import (
    RING,
    SIZE,
    Boxes,
    Everything,
    box,
    draw,
    files_in,
    labels_of,
    read_by_pycocotools,
    read_by_supervision,
)
from prefect_cvat.auto_annotation import (
    annotate_task,
    label_spec,
)
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.export import export_task
from prefect_cvat.masks import encode_mask
from prefect_cvat.options.run_options import Options


def test_exports_the_annotations_of_annotate_task_with_get_requests_only(
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
    """Noise with holes that cannot all be joined to their outlines."""
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
