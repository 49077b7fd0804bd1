"""annotate_task against cvat_sdk.auto_annotation.annotate_task, side by side on one sandbox.

Part one: a function that costs nothing (20 boxes on each of 300 frames of 768x576), for what the client
itself costs. Part two: each torchvision built-in against the SDK's, with the same model and weights.

    python benchmarks/annotate_task.py [--frames 300] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from typing import Any

from benchmark_functions import free
from servers import in_child, log_in, make_task, measured, sandbox

BOXES = 20
MODELS = {
    "detection": "fasterrcnn_mobilenet_v3_large_320_fpn",
    "instance_segmentation": "maskrcnn_resnet50_fpn",
    "classification": "resnet50",
    "keypoint_detection": "keypointrcnn_resnet50_fpn",
}


def model_options(kind: str) -> dict[str, int]:
    """No rescaling of 640x480: it makes boxes end 0.00001 pixels outside, at which the SDK's masks fail."""
    return {} if kind == "classification" else {"min_size": 480, "max_size": 640}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model-frames", type=int, default=8)
    parser.add_argument("--only", nargs="*", choices=["free", *MODELS], default=["free", *MODELS])
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(*arguments.child)))
        return
    with sandbox() as url:
        client = log_in(url)
        if "free" in arguments.only:
            print(f"free function, {arguments.frames} frames of 768x576, {BOXES} boxes each")
            compare(
                "free",
                lambda: (make_task(client, arguments.frames, labels=["car"]), url),
                arguments.rounds,
                arguments.frames,
            )
        for kind in arguments.only:
            if kind == "free":
                continue
            print(f"torchvision {kind} ({MODELS[kind]}), {arguments.model_frames} frames of 640x480")
            names = labels_of(kind)
            compare(
                kind,
                lambda names=names: (
                    make_task(client, arguments.model_frames, labels=names, size=(640, 480)),
                    url,
                ),
                arguments.rounds,
                arguments.model_frames,
            )


def compare(kind: str, new_task: Any, rounds: int, frames: int) -> None:
    """Run both sides in turn, each time on a task of its own, and print medians and ratios."""
    results: dict[str, list[dict[str, float]]] = {"ours": [], "sdk": []}
    for _ in range(rounds):
        for side in results:
            task_id, url = new_task()
            results[side].append(in_child(__file__, "--child", kind, side, url, task_id))
    for figure, unit, scale in (("cpu", "ms of client CPU a frame", 1000 / frames), ("wall", "s wall", 1.0)):
        ours, sdk = ([run[figure] * scale for run in results[side]] for side in ("ours", "sdk"))
        ratios = [a / b for a, b in zip(ours, sdk, strict=True)]
        print(
            f"  {unit:<26} ours {statistics.median(ours):8.2f}   sdk {statistics.median(sdk):8.2f}"
            f"   ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        )
    counts = {side: {run["shapes"] for run in results[side]} for side in results}
    print(f"  {'annotations':<26} ours {sorted(counts['ours'])}   sdk {sorted(counts['sdk'])}")


def labels_of(kind: str) -> list[Any]:
    import torchvision

    from prefect_cvat.auto_annotation import keypoint_spec, skeleton_label_spec

    meta = torchvision.models.get_model_weights(MODELS[kind])["DEFAULT"].meta
    if "keypoint_names" in meta:
        keypoints = [keypoint_spec(name, None) for name in meta["keypoint_names"]]
        return [skeleton_label_spec(name, None, keypoints, svg="") for name in meta["categories"]]
    return sorted(set(meta["categories"]) - {"N/A"})


def child(kind: str, side: str, url: str, task_id: str) -> dict[str, float]:
    """One measured run, in a process of its own; what is imported and loaded before it is not counted."""
    return (ours if side == "ours" else sdk)(kind, url, int(task_id))


def ours(kind: str, url: str, task_id: int) -> dict[str, float]:
    from prefect_cvat import annotate_task
    from prefect_cvat import auto_annotation as aa

    client = log_in(url)
    if kind == "free":
        function: Any = free.make(aa, BOXES)
    else:
        with_random_weights(MODELS[kind])
        from prefect_cvat.auto_annotation.loading import load_function

        function = load_function(
            f"torchvision_{kind}",
            {"model_name": MODELS[kind], "score_threshold": 0.0, "device": "cpu", **model_options(kind)},
        )
    result = measured(
        lambda: annotate_task(client, task_id, function, allow_unmatched_labels=True, use_cache=False)
    )
    return {**result, "shapes": count(client, task_id)}


def sdk(kind: str, url: str, task_id: int) -> dict[str, float]:
    import importlib
    import tempfile
    from pathlib import Path

    import cvat_sdk.auto_annotation as aa
    from cvat_sdk.core.client import Client, Config

    client = Client(url, config=Config(cache_dir=Path(tempfile.mkdtemp())))
    client.login(("admin", "admin"))
    if kind == "free":
        function: Any = free.make(aa, BOXES)
    else:
        with_random_weights(MODELS[kind])
        module = importlib.import_module(f"cvat_sdk.auto_annotation.functions.torchvision_{kind}")
        function = module.create(MODELS[kind], **model_options(kind))
    result = measured(lambda: aa.annotate_task(client, task_id, function, allow_unmatched_labels=True))
    return {**result, "shapes": count(log_in(url), task_id)}


def with_random_weights(model_name: str) -> None:
    """Weights cannot be counted on to be downloadable: both sides get the same random ones instead."""
    import torch
    import torchvision

    def state_dict(self: Any, *_: Any, **__: Any) -> Any:
        torch.manual_seed(0)
        is_detector = model_name in torchvision.models.list_models(module=torchvision.models.detection)
        options = {"weights_backbone": None} if is_detector else {}
        state = torchvision.models.get_model(model_name, weights=None, **options).state_dict()
        for name, values in state.items():
            if "bbox_pred" in name:  # boxes stay where the anchors are: random ones may have no area
                values.zero_()
        return state

    torchvision.models._api.WeightsEnum.get_state_dict = state_dict
    # random weights predict also the classes that COCO does not have, at which the SDK's functions fail
    categories = torchvision.models.get_model_weights(model_name)["DEFAULT"].meta["categories"]
    categories[:] = [f"unused {i}" if name == "N/A" else name for i, name in enumerate(categories)]
    torch.set_num_threads(2)


def count(client: Any, task_id: int) -> int:
    found = [client.job_annotations(job.id) for job in client.jobs(task_id)]
    return sum(len(data.shapes) + len(data.tags) for data in found)


if __name__ == "__main__":
    sys.exit(main())
