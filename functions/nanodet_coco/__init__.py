"""NanoDet with weights trained on COCO, which come with the package: nothing is downloaded.

`NOTICE` in this folder says where the weights come from and under which licences they stand.
"""

from prefect_cvat.auto_annotation.functions.nanodet_coco.model import (
    INPUT_SIZE,
    NanoDet,
    load_categories,
    load_model,
)

__all__ = ["INPUT_SIZE", "NanoDet", "load_categories", "load_model"]
