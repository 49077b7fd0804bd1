"""Detectors that were exported to ONNX, run by ONNX Runtime: torchvision, YOLO, DETR. Torch is not needed.

ONNX Runtime is an extra: `pip install "prefect-cvat[onnx]"`. For GPUs, replace it with `onnxruntime-gpu`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import PIL.Image

from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionAnnotation,
    DetectionFunctionContext,
    DetectionFunctionSpec,
    label_spec,
    rectangle,
)
from prefect_cvat.auto_annotation.functions._batches import Batches
from prefect_cvat.auto_annotation.functions._extras import import_extra
from prefect_cvat.auto_annotation.functions._onnx_file import digest_of_files, external_data_files
from prefect_cvat.auto_annotation.functions._onnx_head_recognition import recognize_head
from prefect_cvat.auto_annotation.functions._onnx_heads import (
    Detections,
    Head,
    TorchvisionHead,
    YoloHead,
)
from prefect_cvat.auto_annotation.functions._onnx_inputs import ImageInput, PlacedImage
from prefect_cvat.auto_annotation.functions._onnx_labels import (
    ClassNames,
    check_background,
    coco_names,
    given_names,
    names_in_metadata,
)
from prefect_cvat.auto_annotation.functions._onnx_session import Session, choose_execution
from prefect_cvat.auto_annotation.functions._sixteen_bit_to_rgb import to_rgb

__all__ = ["OnnxDetectionFunction", "create"]

_BATCH_SIZES = {"cpu": 1, "cuda": None}
"""By execution provider. Others may compile the model for each batch size: they get `_BATCH_SIZE`."""

_BATCH_SIZE = 8

_Item: TypeAlias = tuple[DetectionFunctionContext, PIL.Image.Image]


class OnnxDetectionFunction:
    """Finds rectangles, each with the model's score; see `create`.

    Args:
        session: The loaded model.
        model_input: Its input.
        head: What its outputs mean.
        names: The names of its classes.
        files_digest: A digest of its files.
        score_threshold: Minimum score when the run sets no threshold.
        batch_size: The greatest number of images that the model gets at once; None finds the fastest.
    """

    def __init__(
        self,
        session: Session,
        *,
        model_input: ImageInput,
        head: Head,
        names: ClassNames,
        files_digest: str,
        score_threshold: float,
        batch_size: int | None,
    ) -> None:
        self.score_threshold = score_threshold
        self.device = session.device
        self.head = head
        self._session: Session | None = session
        self._input = model_input
        self._names = names
        self._classes = names.classes()
        self._files_digest = files_digest
        self._batches = Batches(batch_size)

    @cached_property
    def spec(self) -> DetectionFunctionSpec:
        """The labels; their ids are the model's class numbers."""
        return DetectionFunctionSpec(
            labels=[
                label_spec(name, number, type="rectangle") for number, name in self._classes.label_names()
            ]
        )

    @property
    def batch_size(self) -> int:
        """The greatest number of images that the model gets at once now; it changes during a search."""
        return self._batches.size

    @cached_property
    def version(self) -> str:
        """A digest of all that decides what is found on an image: the model's files and the settings.

        Not of the device: what one machine has found and kept, or has finished, others need not do again.
        """
        settings = (
            type(self).__qualname__,
            import_extra("onnxruntime").__version__,
            self._files_digest,
            self.score_threshold,
            self.head,
            sorted(self._names.by_number.items()),
        )
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    def detect(self, context: DetectionFunctionContext, image: PIL.Image.Image) -> list[DetectionAnnotation]:
        """Find the objects on an image of any mode."""
        return self.detect_batch([context], [image])[0]

    def detect_batch(
        self, contexts: Sequence[DetectionFunctionContext], images: Sequence[PIL.Image.Image]
    ) -> list[list[DetectionAnnotation]]:
        """Find the objects on images of any sizes and modes.

        Raises:
            BadFunctionError: The model does not return what such a model should.
            RuntimeError: The function is closed.
            MemoryError: Not even one image fits into memory.
        """
        return self._batches.map(self._detect_together, list(zip(contexts, images, strict=True)))

    def close(self) -> None:
        """Let go of the model; the function cannot be used any more."""
        self._session = None

    def _detect_together(self, items: Sequence[_Item]) -> list[list[DetectionAnnotation]]:
        placed = [self.head.place(to_rgb(image), self._input) for _, image in items]
        alike: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(placed):
            alike.setdefault(image.pixels.shape, []).append(index)
        found: list[list[DetectionAnnotation]] = [[] for _ in items]
        for indexes in alike.values():
            size = self._input.batch or len(indexes)
            for start in range(0, len(indexes), size):
                batch = indexes[start : start + size]
                thresholds = [self._threshold(items[index][0]) for index in batch]
                outcome = self._detect_batch_of_one_size([placed[index] for index in batch], thresholds)
                for index, on_image in zip(batch, outcome, strict=True):
                    found[index] = on_image
        return found

    def _detect_batch_of_one_size(
        self, images: Sequence[PlacedImage], thresholds: Sequence[float]
    ) -> list[list[DetectionAnnotation]]:
        if self._session is None:
            raise RuntimeError("the function is closed")
        outputs = self._session.run(self.head.outputs, self._input.feed(images, imagenet=self.head.imagenet))
        return [
            self._annotations(image, self.head.detections(outputs, index, image, threshold))
            for index, (image, threshold) in enumerate(zip(images, thresholds, strict=True))
        ]

    def _annotations(self, image: PlacedImage, found: Detections) -> list[DetectionAnnotation]:
        boxes = image.in_image(found.boxes).tolist()
        annotations: list[DetectionAnnotation] = []
        for box, number, score in zip(boxes, found.classes.tolist(), found.scores.tolist(), strict=True):
            if self._names.is_complete and number not in self._names.by_number:
                raise BadFunctionError(
                    f"the model found an object of class {number}, but labels has the names of classes 0 to"
                    f" {len(self._names.by_number) - 1}; give names to all classes"
                )
            label_id = self._classes.label_ids.get(number)
            if label_id is not None:
                annotations.append(rectangle(label_id, box, score=min(score, 1.0)))
        return annotations

    def _threshold(self, context: DetectionFunctionContext) -> float:
        return self.score_threshold if context.conf_threshold is None else context.conf_threshold


def create(
    model: str | os.PathLike[str],
    *,
    labels: str | Sequence[str] | Mapping[int | str, str] | None = None,
    score_threshold: float | None = None,
    iou: float = 0.7,
    image_size: int | tuple[int, int] | None = None,
    providers: str | Sequence[str] = "auto",
    device: str = "auto",
    batch_size: int | None = None,
) -> OnnxDetectionFunction:
    """Make a detection function of an ONNX file. Names, shapes and types of its outputs tell what they mean.

    - torchvision: boxes `[N, 4]` in pixels of the input, labels `[N]`, scores `[N]`, in any order. Further
      outputs, such as masks, are ignored.
    - YOLO of Ultralytics: one output `[B, 4 + classes, anchors]`, or `[B, N, 6]` if the model selects the
      boxes itself. Images are letterboxed. Only the task `detect`.
    - DETR: `logits` `[B, queries, classes + 1]`, the last class being that of no object, and `pred_boxes`
      `[B, queries, 4]`. Images are normalised by the mean and standard deviation of ImageNet.

    Layout, size and type (float32, float16, uint8) of the input are those of the model. An ONNX file holds no
    code, unlike a file of pickled weights.

    Example:
        Of a YOLO model, which names its classes itself::

            create("best.onnx", score_threshold=0.4)

        Of a torchvision model with two classes::

            create("detector.onnx", labels="__background__,cat,dog")

    Args:
        model: The file. Weights that the export has put into further files must be beside it.
        labels: The names of the classes in the order of their numbers, from 0: a list, a text separated by
            commas, or a text file (`.txt`), one a line. Names such as `__background__` do not become labels.
            A mapping from class numbers to names drops objects of other classes. By default the names in the
            file (`names`, as Ultralytics writes them), or COCO's where the model has 80 or 91 classes.
        score_threshold: Minimum score when the run sets no threshold; by default 0.25 (YOLO) or 0.5.
        iou: For YOLO: of two boxes of a class that overlap by more than this, the one with the lesser score
            is dropped (intersection over union, 0 to 1). Models that select the boxes themselves ignore it.
        image_size: For a YOLO model that takes images of any size: to what the longer side of an image is
            resized, or (height, width), in pixels. By default that of the export, or else 640.
        providers: `auto`, or execution providers of ONNX Runtime in order of preference, as a list or
            separated by commas: `cpu`, `cuda`, `tensorrt`, `openvino`, ... `auto` takes the best that is
            installed and works, but not TensorRT, which takes minutes to load a model.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps` (CoreML).
        batch_size: The greatest number of images that the model gets at once, if it takes several; by
            default 1 on a CPU, 8 on other devices, and with CUDA the fastest, which is found while it works.
            It is halved whenever the memory does not suffice. Only images of one size go together.

    Raises:
        FunctionLoadError: ONNX Runtime is not installed.
        FileNotFoundError: There is no such file, or a file beside it is missing.
        BadFunctionError: The file is not an ONNX model, or one that cannot be used; or it has another
            number of classes than there are labels.
        ValueError: `labels` are missing or invalid; a provider or device is not there; a number is out of
            its range.
    """
    for name, value in (("iou", iou), ("score_threshold", score_threshold)):
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} must be between 0 and 1, not {value}")
    names = None if labels is None else given_names(labels)
    execution = choose_execution(providers, device)
    path = Path(model)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    files = [path, *external_data_files(path)]
    session = Session(path, execution)
    names = names or names_in_metadata(session.metadata)
    model_input = ImageInput.of(session.inputs)
    head = recognize_head(
        session.outputs,
        session.metadata,
        class_count=None if names is None else names.count,
        iou=iou,
        image_size=image_size,
    )
    if names is None:
        names = coco_names(head.class_count)
        if names is None:
            raise ValueError(
                f"the names of the classes are not in {str(path)!r}; give them as labels, in the order of the"
                " class numbers: a list, a text separated by commas, or a text file"
            )
    if isinstance(head, TorchvisionHead):
        if labels is not None:
            check_background(names)
        if model_input.batch not in (1, None):
            raise BadFunctionError(
                f"the model takes {model_input.batch} images, but returns objects of one; export it for one"
            )
        model_input = replace(model_input, batch=1)
    if image_size is not None and not (isinstance(head, YoloHead) and model_input.size is None):
        raise ValueError("image_size is for YOLO models that take images of any size; this model is not one")
    if batch_size is None:
        batch_size = model_input.batch or _BATCH_SIZES.get(session.provider, _BATCH_SIZE)
    return OnnxDetectionFunction(
        session,
        model_input=model_input,
        head=head,
        names=names,
        files_digest=digest_of_files(files),
        score_threshold=head.score_threshold if score_threshold is None else score_threshold,
        batch_size=batch_size,
    )
