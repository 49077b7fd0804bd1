"""An interaction function that fills ellipses, and needs no model."""

import numpy as np

from prefect_cvat.auto_annotation import InteractionFunctionSpec, InteractionResultShape
from prefect_cvat.masks import encode_mask

TOO_WIDE = 40
"""Width in pixels from which the function of these tests finds nothing in a box."""


class Ellipses:
    """Fills the ellipse in the box, or a disc around each point; in two parts if requested."""

    spec = InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=0)

    def __init__(self, parts=1):
        self.parts = parts
        self.asked = []

    def detect(self, context, image, prompts):
        rows, columns = np.mgrid[: image.height, : image.width] + 0.5
        bitmap = np.zeros(rows.shape, dtype=bool)
        boxes = [prompts.bounding_box] if prompts.bounding_box else []
        boxes += [((x - 3, y - 3), (x + 3, y + 3)) for x, y in prompts.pos_points]
        self.asked.append(boxes)
        for (x1, y1), (x2, y2) in boxes:
            if x2 - x1 >= TOO_WIDE:
                return []
            x, y = (2 * columns - x1 - x2) / (x2 - x1), (2 * rows - y1 - y2) / (y2 - y1)
            bitmap |= x**2 + y**2 <= 1
            if self.parts == 2:
                bitmap[:, int((x1 + x2) / 2) - 1 : int((x1 + x2) / 2) + 1] = False
        return [InteractionResultShape(type="mask", points=encode_mask(bitmap))]
