"""The built-in functions on a processor: annotate_task on OpenVINO and in torch, against that of cvat_sdk.

All sides have the same model and weights, random ones where none are in the package, and each is in a process
of its own. What is counted begins once the model is loaded, converted, and has seen an image.

    python benchmarks/runtimes.py [--frames 8] [--rounds 3] [--json runtimes.json]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import PIL.Image
from annotate_task import with_random_weights
from servers import in_child, log_in, make_task, measured, sandbox

SIZE = (640, 480)
SIDES = ("openvino", "torch", "sdk")
MODELS = {
    "resnet50": "classification",
    "ssdlite320_mobilenet_v3_large": "detection",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "detection",
    "retinanet_resnet50_fpn": "detection",
    "nanodet": "",
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=[*MODELS], default=[*MODELS])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*options.child)))
        return
    os.environ["PREFECT_CVAT_CACHE_DIR"] = tempfile.mkdtemp()  # the first child converts the model
    results = {}
    print(f"{options.frames} frames of {SIZE[0]}x{SIZE[1]}, {options.rounds} rounds; ms a frame, wall (CPU)")
    print("| model | OpenVINO | torch | cvat-sdk | sdk / OpenVINO | sdk / torch | load |")
    print("|---|---|---|---|---|---|---|")
    with sandbox() as url:
        client = log_in(url)
        for model in options.only:
            runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
            loads = []
            for _ in range(options.rounds):
                for side in SIDES:
                    task_id = make_task(client, options.frames, labels=["unused"], size=SIZE)
                    runs[side].append(in_child(__file__, "--child", model, side, url, task_id))
                    loads.append(os.getloadavg()[0])
            results[model] = {"runs": runs, "loads": loads}
            print(row(model, runs, loads, options.frames), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"frames": options.frames, "models": results}, indent=2) + "\n")


def row(model: str, runs: dict[str, list[dict[str, float]]], loads: list[float], frames: int) -> str:
    """A row of the table: medians, and medians of the ratios of one round."""
    cells = []
    for side in SIDES:
        wall, cpu = (
            statistics.median(run[figure] for run in runs[side]) * 1000 / frames for figure in ("wall", "cpu")
        )
        cells.append(f"{wall:.0f} ({cpu:.0f})")
    for side in ("openvino", "torch"):
        pairs = zip(runs["sdk"], runs[side], strict=True)
        cells.append(f"{statistics.median(sdk['wall'] / ours['wall'] for sdk, ours in pairs):.1f}")
    return f"| {model} | {' | '.join(cells)} | {min(loads):.1f} to {max(loads):.1f} |"


def child(model: str, side: str, url: str, task_id: str) -> dict[str, float]:
    """One measured run, in a process of its own."""
    if model != "nanodet":
        with_random_weights(model)
    return (sdk if side == "sdk" else ours)(model, side, url, int(task_id))


def ours(model: str, runtime: str, url: str, task_id: int) -> dict[str, float]:
    """Our annotate_task, with a runtime."""
    from prefect_cvat import annotate_task
    from prefect_cvat.auto_annotation.loading import load_function

    name = "nanodet_detection" if model == "nanodet" else f"torchvision_{MODELS[model]}"
    parameters = {"score_threshold": 0.0, "device": "cpu", "runtime": runtime}
    function: Any = load_function(
        name, parameters if model == "nanodet" else {"model_name": model, **parameters}
    )
    function.detect(Context(), PIL.Image.effect_noise(SIZE, 64))
    assert function.runtime == runtime
    client = log_in(url)
    return measured(
        lambda: annotate_task(client, task_id, function, allow_unmatched_labels=True, use_cache=False)
    )


def sdk(model: str, _side: str, url: str, task_id: int) -> dict[str, float]:
    """The SDK's annotate_task."""
    import cvat_sdk.auto_annotation as aa
    from cvat_sdk.core.client import Client, Config

    client = Client(url, config=Config(cache_dir=Path(tempfile.mkdtemp())))
    client.login(("admin", "admin"))
    if model == "nanodet":
        function: Any = nanodet_of_sdk(aa)
    else:
        module = importlib.import_module(f"cvat_sdk.auto_annotation.functions.torchvision_{MODELS[model]}")
        function = module.create(model)
    function.detect(Context(), PIL.Image.effect_noise(SIZE, 64).convert("RGB"))
    return measured(lambda: aa.annotate_task(client, task_id, function, allow_unmatched_labels=True))


class Context:
    """What a function is told about an image."""

    conf_threshold = None
    conv_mask_to_poly = False
    frame_name = "warm-up.jpg"


def nanodet_of_sdk(aa: Any) -> Any:
    """NanoDet as one writes a function for the SDK."""
    import torch
    from torchvision.transforms.functional import to_tensor

    from prefect_cvat.auto_annotation.functions.nanodet_coco import INPUT_SIZE, load_categories, load_model

    network = load_model(score_thresh=0.0)

    class NanoDetFunction:
        spec = aa.DetectionFunctionSpec(labels=[aa.label_spec(n, i) for i, n in enumerate(load_categories())])

        def detect(self, context: Any, image: PIL.Image.Image) -> list[Any]:
            small = image.resize((INPUT_SIZE, INPUT_SIZE), PIL.Image.Resampling.BILINEAR)
            with torch.inference_mode():
                (found,) = network([to_tensor(small)])
            scale = torch.tensor([image.width / INPUT_SIZE, image.height / INPUT_SIZE] * 2)
            boxes = (found["boxes"] * scale).tolist()
            return [
                aa.rectangle(label, box) for label, box in zip(found["labels"].tolist(), boxes, strict=True)
            ]

    return NanoDetFunction()


if __name__ == "__main__":
    sys.exit(main())
