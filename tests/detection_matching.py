"""How many of some detections others have found, too."""

import numpy as np

from prefect_cvat.masks import decode_mask


def matched(found, others, photos, *, min_iou, max_score_difference):
    """The fraction of detections that both sides have: an object of the same label in the same place.

    Args:
        found: What one side found on each photograph.
        others: What the other side found.
        photos: The photographs.
        min_iou: Minimum intersection over union; for keypoints, the fraction of them within 3 pixels.
        max_score_difference: Maximum difference of the scores.
    """
    total = same = 0
    for one, other, photo in zip(found, others, photos, strict=True):
        tags = [{tag.label_id for tag in each.tags} for each in (one, other)]
        total += len(tags[0] | tags[1])
        same += len(tags[0] & tags[1])
        total += max(len(one.shapes), len(other.shapes))
        left = list(other.shapes)
        for shape in one.shapes:
            for candidate in left:
                if (
                    candidate.label_id == shape.label_id
                    and abs(candidate.score - shape.score) <= max_score_difference
                    and _overlap(shape, candidate, photo.size) >= min_iou
                ):
                    left.remove(candidate)
                    same += 1
                    break
    assert total, "nothing was found"
    return same / total


def _overlap(shape, other, size):
    if shape.type == "mask":
        masks = [
            decode_mask(each.points, image_width=size[0], image_height=size[1]) for each in (shape, other)
        ]
        return (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
    if shape.type == "skeleton":
        places = [np.array([element.points for element in each.elements]) for each in (shape, other)]
        return (np.linalg.norm(places[0] - places[1], axis=1) <= 3).mean()
    boxes = np.array([shape.points, other.points])
    size_of_overlap = np.maximum(0, boxes[:, 2:].min(0) - boxes[:, :2].max(0)).prod()
    return size_of_overlap / ((boxes[:, 2:] - boxes[:, :2]).prod(1).sum() - size_of_overlap)
