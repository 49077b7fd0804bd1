"""Differences of two evaluations, with paired bootstrap intervals."""

import numpy as np
import pytest

from coco_datasets import dataset, found
from coco_photos import evaluate_by_pycocotools, half_right, read_coco
from prefect_cvat.evaluation import compare_evaluations, evaluate
from prefect_cvat.evaluation.comparison.bootstrap import METRICS, ResampledMetrics, draw_weights

BOX = (0, 0, 20, 20)


def images_of(truth):
    return [image["id"] for image in truth["images"]]


def random_dataset(images=30, seed=0, share=0.7):
    """Objects of two labels on each image, and predictions of a share of them with some false positives."""
    random = np.random.default_rng(seed)
    objects, predictions = [], []
    for image in range(1, images + 1):
        for _ in range(random.integers(1, 5)):
            box = (*random.uniform(0, 300, 2).tolist(), *random.uniform(10, 120, 2).tolist())
            objects.append((image, int(random.integers(1, 3)), box))
    for image, label, (x, y, width, height) in objects:
        if random.random() < share:
            shift = float(random.normal(0, 4))
            predictions.append(found(image, label, (x + shift, y, width, height), float(random.random())))
        if random.random() < 0.3:
            predictions.append(found(image, label, (*random.uniform(0, 300, 2).tolist(), 50, 50), 0.4))
    return dataset(*objects, images=images), predictions


@pytest.fixture(scope="module")
def pair():
    truth, good = random_dataset()
    worse = [item for place, item in enumerate(good) if place % 4]
    return truth, evaluate(truth, good), evaluate(truth, worse)


def test_with_each_frame_once_metrics_are_those_of_the_evaluation(pair):
    truth, first, _ = pair
    images = np.array(images_of(truth))
    measured = ResampledMetrics(first, images).measure(np.ones((1, len(images))))
    for name, values in measured.items():
        own = first if name is None else first.by_label[name]
        assert values[0].tolist() == pytest.approx([getattr(own, metric) for metric in METRICS])


@pytest.mark.parametrize(("name", "iou_type"), [("instances", "bbox"), ("instances", "segm")])
def test_resampled_precision_is_that_of_pycocotools_on_copies_of_the_frames(test_data, name, iou_type):
    truth = read_coco(test_data, name)
    predictions = half_right(truth, iou_type)
    images = np.array(sorted(images_of(truth)))
    [weights] = draw_weights(len(images), 1, 3, 1)
    copies = {"images": [], "categories": truth["categories"], "annotations": []}
    results = []
    by_id = {image["id"]: image for image in truth["images"]}
    for image, times in zip(images.tolist(), weights[0].astype(int).tolist(), strict=True):
        for _ in range(times):
            number = len(copies["images"]) + 1
            copies["images"].append(by_id[image] | {"id": number})
            for item in truth["annotations"]:
                if item["image_id"] == image:
                    own = {"id": len(copies["annotations"]) + 1, "image_id": number}
                    copies["annotations"].append(item | own)
            results += [item | {"image_id": number} for item in predictions if item["image_id"] == image]
    reference = evaluate_by_pycocotools(copies, results, iou_type)
    resampled = ResampledMetrics(evaluate(truth, predictions, iou_type=iou_type), images)
    assert resampled.measure(weights)[None][0, :2] == pytest.approx(reference.stats[:2], abs=1e-6)


def test_predictions_that_lack_some_are_clearly_worse(pair):
    truth, first, second = pair
    done = compare_evaluations(first, second, images_of(truth), resamples=300)
    recall = done.overall.metrics["recall"]
    assert recall.difference == pytest.approx(first.recall - second.recall)
    assert 0 < recall.low < recall.difference < recall.high
    assert recall.is_clear
    assert set(done.by_label) == {"a", "b"}
    mirrored = compare_evaluations(second, first, images_of(truth), resamples=300)
    assert mirrored.overall.metrics["ap"].low == pytest.approx(-done.overall.metrics["ap"].high)


def test_the_interval_covers_the_difference_of_the_population():
    """Of 95 % intervals of samples, most contain the difference that a large sample has."""
    truth, predictions = random_dataset(2000, seed=1)
    kept = [item for place, item in enumerate(predictions) if place % 5]
    population = evaluate(truth, predictions).f1 - evaluate(truth, kept).f1
    covered = 0
    for start in range(1, 2000, 50):
        images = range(start, start + 50)
        part = truth | {
            "images": [image for image in truth["images"] if image["id"] in images],
            "annotations": [item for item in truth["annotations"] if item["image_id"] in images],
        }
        own = [[item for item in some if item["image_id"] in images] for some in (predictions, kept)]
        done = compare_evaluations(*(evaluate(part, some) for some in own), images, resamples=200)
        f1 = done.overall.metrics["f1"]
        covered += f1.low <= population <= f1.high
    assert covered >= 34  # of 40; 38 are expected


def test_equal_predictions_do_not_differ(pair):
    truth, first, _ = pair
    done = compare_evaluations(first, first, images_of(truth), resamples=50)
    assert {(each.difference, each.low, each.high) for each in done.overall.metrics.values()} == {(0, 0, 0)}
    assert not any(each.is_clear for each in done.overall.metrics.values())
    assert done.frames == ()


def test_the_same_seed_gives_the_same_intervals(pair):
    truth, first, second = pair
    one, same, other = (
        compare_evaluations(first, second, images_of(truth), resamples=100, seed=seed) for seed in (7, 7, 8)
    )
    assert one == same
    assert one.overall.metrics["ap"].low != other.overall.metrics["ap"].low


def test_resamples_do_not_depend_on_how_many_are_in_memory():
    one, parts = (np.concatenate(list(draw_weights(9, 40, 5, largest))) for largest in (1, 300_000))
    assert (one == parts).all()
    assert (one.sum(axis=1) == 9).all()


def test_frames_that_differ_most_come_first():
    truth = dataset((1, 1, BOX), (1, 1, (100, 0, 20, 20)), (2, 1, BOX), (3, 1, BOX), images=4)
    first = evaluate(
        truth, [found(1, 1, BOX, 0.9), found(1, 1, (100, 0, 20, 20), 0.8), found(3, 1, BOX, 0.7)]
    )
    second = evaluate(truth, [found(2, 1, BOX, 0.9), found(3, 1, BOX, 0.7)])
    frames = compare_evaluations(first, second, images_of(truth), resamples=10).frames
    assert [(each.frame, each.only_first, each.only_second, each.size) for each in frames] == [
        (1, 2, 0, 2),
        (2, 0, 1, 1),
    ]


def test_metrics_without_objects_or_frames_have_no_interval():
    truth = dataset((1, 1, BOX), images=1)
    alone = evaluate(truth, [found(1, 2, BOX, 0.5)])
    done = compare_evaluations(alone, alone, [1], resamples=10)
    assert done.overall.metrics["recall"].low is None
    assert done.by_label["b"].metrics["ap"].difference is None
    nothing = evaluate(dataset(), [])
    assert compare_evaluations(nothing, nothing, [1, 2]).overall.metrics["ap"].difference is None


@pytest.mark.parametrize(("frames", "has_interval"), [(5, False), (6, True)])
def test_a_label_on_few_frames_has_no_interval(frames, has_interval):
    others = [(image, 1, BOX) for image in range(1, 11)]
    truth = dataset(*others, *((image, 2, (100, 0, 20, 20)) for image in range(1, frames + 1)), images=10)
    right = [found(item["image_id"], item["category_id"], item["bbox"], 0.9) for item in truth["annotations"]]
    first, second = evaluate(truth, right), evaluate(truth, right[:10])
    done = compare_evaluations(first, second, images_of(truth), resamples=20)
    assert done.by_label["b"].metrics["recall"].is_clear is has_interval
    assert done.by_label["a"].metrics["recall"].low == 0
    assert done.overall.metrics["recall"].is_clear


def test_a_label_that_only_one_predicts_is_compared():
    truth = dataset((1, 1, BOX), images=2)
    with_b = evaluate(truth, [found(1, 1, BOX, 0.9), found(2, 2, BOX, 0.9)])
    done = compare_evaluations(with_b, evaluate(truth, []), images_of(truth), resamples=20)
    assert (done.by_label["b"].truth, done.by_label["b"].metrics["precision"].first) == (0, 0)
    assert done.by_label["b"].metrics["precision"].second is None


def test_what_cannot_be_compared_is_refused(pair):
    truth, first, second = pair
    other = evaluate(truth | {"annotations": truth["annotations"][1:]}, [])
    strict = evaluate(truth, [], score_threshold=0.5)
    with pytest.raises(ValueError, match="different ground truth"):
        compare_evaluations(first, other, images_of(truth))
    with pytest.raises(ValueError, match="different thresholds"):
        compare_evaluations(first, strict, images_of(truth))
    with pytest.raises(ValueError, match="not among the given images"):
        compare_evaluations(first, second, [1, 2])
    with pytest.raises(ValueError, match="resamples must be 1 to 100000, not 0"):
        compare_evaluations(first, second, images_of(truth), resamples=0)
