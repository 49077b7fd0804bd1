"""Average precision by size equals that of pycocotools."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coco_datasets import dataset, found
from coco_photos import evaluate_by_pycocotools
from prefect_cvat.evaluation import evaluate

SIDES = st.sampled_from([8, 31, 32, 33, 60, 95, 96, 97, 150])
boxes = st.tuples(st.integers(1, 2), st.integers(1, 2), st.tuples(*[st.integers(0, 90)] * 2, SIDES, SIDES))


@given(
    objects=st.lists(st.tuples(boxes, st.booleans(), st.sampled_from([1.0, 0.6])), min_size=1, max_size=8),
    others=st.lists(st.tuples(boxes, st.sampled_from([0.2, 0.5, 0.5, 0.9])), max_size=5),
    near=st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 9), st.sampled_from([0.3, 0.5, 0.8])), max_size=8
    ),
)
@settings(max_examples=80, deadline=None)
def test_sizes_of_random_boxes_equal_those_of_pycocotools(objects, others, near):
    truth = dataset(*(box for box, _, _ in objects))
    for item, (_, is_crowd, share) in zip(truth["annotations"], objects, strict=True):
        item["iscrowd"] = int(is_crowd)
        item["area"] *= share  # as that of a mask within the box
    predictions = [found(*box, score) for box, score in others]
    for place, shift, score in near:
        image, category, (x, y, width, height) = objects[place % len(objects)][0]
        predictions.append(found(image, category, (x + shift, y, width, height + shift), score))
    if not predictions:
        return  # pycocotools cannot read an empty list
    result = evaluate(truth, predictions)
    own = [-1 if size.ap is None else size.ap for size in result.by_size.values()]
    reference = evaluate_by_pycocotools(truth, predictions, "bbox")
    assert own == pytest.approx(reference.stats[3:6].tolist(), abs=1e-6)


def test_an_object_at_the_limit_has_both_sizes_as_in_pycocotools():
    result = evaluate(dataset((1, 1, (0, 0, 32, 32))), [found(1, 1, (0, 0, 32, 32), 0.5)])
    assert {name: size.truth for name, size in result.by_size.items()} == {
        "small": 1,
        "medium": 1,
        "large": 0,
    }
    assert (result.by_size["medium"].ap, result.by_size["large"].ap) == (1, None)


def test_area_is_that_of_the_box_if_there_is_none():
    truth = dataset((1, 1, (0, 0, 100, 100)))
    del truth["annotations"][0]["area"]
    assert evaluate(truth, []).by_size["large"].truth == 1


def test_masks_without_area_are_measured_by_their_pixels():
    truth = dataset((1, 1, (0, 0, 200, 200)))
    truth["annotations"][0] |= {"segmentation": [[0, 0, 20, 0, 20, 20, 0, 20]], "area": None}
    assert evaluate(truth, [], iou_type="segm").by_size["small"].truth == 1
