"""Calls of single frames: what each kind of function gets, and what the annotator gets of its answer.

Other answers than those that CVAT expects raise `KeyError`, `TypeError` and the like: CVAT answers 500.
"""

from typing import Any

from prefect_cvat.sandbox.annotations.annotation_body import Annotations
from prefect_cvat.sandbox.api.reply import ApiError, Json, bad_request
from prefect_cvat.sandbox.functions.detections import as_json, convert
from prefect_cvat.sandbox.functions.frames import Frames
from prefect_cvat.sandbox.functions.function_record import Function
from prefect_cvat.sandbox.functions.gateway import Gateway
from prefect_cvat.sandbox.functions.label_mapping import LabelMapping, map_labels
from prefect_cvat.sandbox.functions.region import (
    Region,
    into_region,
    move_back,
    move_interaction,
    read_region,
)
from prefect_cvat.sandbox.functions.tracker_states import sign, unsign


def invoke(
    gateway: Gateway, function: Function, frames: Frames, labels: list[Json], body: Json, secret: bytes
) -> Any:
    """Call a function for an annotator.

    Args:
        gateway: Where it is called.
        function: The function.
        frames: The frames that it may get.
        labels: The labels of the task.
        body: The request of the annotator.
        secret: Signs the states of trackers.

    Raises:
        ApiError: 400 if the request or the answer is invalid.
    """
    if function.kind == "reid":
        return _reidentify(gateway, function, frames, body)
    number = frames.check(_mandatory(function, body, "frame"))
    size = frames.sizes([number])[0]
    region = read_region(body.get("roi"), [size])
    if function.kind == "detector":
        mapping = map_labels(function.labels, labels, body.get("mapping"))
        poly = bool(body.get("conv_mask_to_poly"))
        found = detect(gateway, function, frames, number, mapping, body, region, conv_mask_to_poly=poly)
        return as_json(found)
    if function.kind == "interactor":
        payload = _prompts(function, body, region)
        payload = {**_threshold(body), "image": frames.image(number, region), **payload}
        return move_interaction(gateway.invoke(function, payload), region, size)
    return _track(gateway, function, frames.image(number), body, secret)


def detect(
    gateway: Gateway,
    function: Function,
    frames: Frames,
    number: int,
    mapping: LabelMapping,
    body: Json,
    region: Region | None,
    *,
    conv_mask_to_poly: bool,
) -> Annotations:
    """Call a detector with a frame; return what CVAT makes of its answer."""
    payload = {**_threshold(body), "image": frames.image(number, region)}
    answer = gateway.invoke(function, payload)
    return move_back(convert(answer, mapping, number, conv_mask_to_poly=conv_mask_to_poly), region)


def reidentify_payload(frames: Frames, pair: tuple[int, int], boxes: tuple[Any, Any], body: Json) -> Json:
    """What a function for re-identification gets for two frames and the shapes on them."""
    return {
        **_threshold(body),
        "image0": frames.image(pair[0]),
        "image1": frames.image(pair[1]),
        "boxes0": boxes[0],
        "boxes1": boxes[1],
        **({"max_distance": body["max_distance"]} if body.get("max_distance") else {}),
    }


def _reidentify(gateway: Gateway, function: Function, frames: Frames, body: Json) -> Any:
    if body.get("roi") is not None:
        raise ApiError(400, "ROI is not supported for reid functions")
    first, second = (frames.check(_mandatory(function, body, f"frame{index}")) for index in (0, 1))
    boxes = _mandatory(function, body, "boxes0"), _mandatory(function, body, "boxes1")
    return gateway.invoke(function, reidentify_payload(frames, (first, second), boxes, body))


def _prompts(function: Function, body: Json, region: Region | None) -> Json:
    prompts = {
        "pos_points": _mandatory(function, body, "pos_points"),
        "neg_points": _mandatory(function, body, "neg_points"),
        "obj_bbox": body.get("obj_bbox"),
    }
    for pairs in prompts.values():
        if pairs is not None and not _are_pairs(pairs):
            raise bad_request(["Interactor prompt points must contain point pairs"])
    text = {"text_prompts": body["text_prompts"]} if "text_prompts" in body else {}
    return {name: into_region(pairs, region) for name, pairs in prompts.items()} | text


def _are_pairs(pairs: Any) -> bool:
    return isinstance(pairs, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)


def _track(gateway: Gateway, function: Function, image: str, body: Json, secret: bytes) -> Json:
    states = [unsign(state, function.name, secret) for state in body.get("states", [])]
    shapes = body.get("shapes", [None] * len(states))
    is_bare = function.shape_types is None
    for shape in filter(None, shapes):
        if shape["type"] not in function.shown["supported_shape_types"]:
            raise ApiError(400, f"This function does not support shapes of type '{shape['type']}'")
    sent = [shape and shape["points"] if is_bare else shape for shape in shapes]
    answer = gateway.invoke(function, {"image": image, "shapes": sent, "states": states})
    shown: Json = {"states": [sign(state, function.name, secret) for state in answer["states"]]}
    if "shapes" in answer:
        shown["shapes"] = [
            {"type": "rectangle", "points": shape} if is_bare and shape is not None else shape
            for shape in answer["shapes"]
        ]
    return shown


def _threshold(body: Json) -> Json:
    # CVAT 2.73 does not send 0 either
    return {"threshold": body["threshold"]} if body.get("threshold") else {}


def _mandatory(function: Function, body: Json, name: str) -> Any:
    if name not in body:
        raise ApiError(
            400, f"`{function.name}` lambda function was called without mandatory argument: {name}"
        )
    return body[name]
