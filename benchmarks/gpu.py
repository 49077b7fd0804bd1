"""How busy a run keeps a GPU: frames per second of `annotate_task` against the model alone, and cvat_sdk.

For each model, on one card: a bare loop of the model over images that are on the card already, with the
batch size that the run has found; `annotate_task` on a sandbox in another process; and the SDK's
`annotate_task` if `cvat_sdk` is installed, with its own function moved to the card. The weights of Faster
R-CNN are random: nothing is downloaded.

    python benchmarks/gpu.py [--frames 600] [--json gpu.json]
    python benchmarks/gpu.py --device cpu --frames 8 --rounds 1 --min-size 100
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import PIL.Image
import skimage.data
import torch
import urllib3
from annotate_task import with_random_weights
from servers import log_in, sandbox

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.auto_annotation.functions import nanodet_detection, torchvision_detection
from prefect_cvat.inference.detection_calls import DetectionContext

RCNN = "fasterrcnn_resnet50_fpn"
RCNN_OPTIONS = {"box_score_thresh": 0.0, "box_detections_per_img": 20}
GOALS = {"to_bare": 0.9, "to_sdk": 5.0}
"""Ratios; the first for models of 100 images per second or slower."""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--sdk-frames", type=int, default=100)
    parser.add_argument("--size", type=int, nargs=2, default=[1280, 720], help="width and height in pixels")
    parser.add_argument(
        "--min-size", type=int, default=800, help="shorter side of the images of Faster R-CNN"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=[*MODELS], default=[*MODELS])
    parser.add_argument("--batch-size", type=int, help="by default the one that the function finds")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.exit(0, "no GPU: torch.cuda.is_available() is False; --device cpu tries the benchmark\n")
    RCNN_OPTIONS["min_size"] = options.min_size
    threads = torch.get_num_threads()
    with_random_weights(RCNN)
    torch.set_num_threads(threads)
    results: dict[str, Any] = {
        "card": torch.cuda.get_device_name() if options.device.startswith("cuda") else None,
        "torch": torch.__version__,
        "frames": options.frames,
        "size": options.size,
        "goals": GOALS,
        "models": {},
    }
    images = photos(*options.size)
    with sandbox() as url:
        for name in options.models:
            results["models"][name] = measure(name, url, images, options)
            print(name, json.dumps(results["models"][name], indent=2), flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def measure(
    name: str, url: str, images: list[PIL.Image.Image], options: argparse.Namespace
) -> dict[str, Any]:
    """Measure one model."""
    function = MODELS[name](options.device, options.batch_size)
    names = [label.name for label in function.spec.labels]
    task_id = make_task(url, images, names, options.frames)
    first, _ = timed(lambda: annotate(url, task_id, function), options.device)  # the server makes the chunks
    seconds, busy = [], []
    for _ in range(options.rounds):
        delete_annotations(url, task_id)
        taken, utilization = timed(lambda: annotate(url, task_id, function), options.device)
        seconds.append(taken)
        busy.append(utilization)
    batch_size = function.batch_size
    bare = bare_rate(function, images, options.frames)
    rate = options.frames / statistics.median(seconds)
    sdk = sdk_rate(name, url, images, names, options)
    return {
        "batch_size": batch_size,
        "bare_images_per_second": round(bare, 1),
        "frames_per_second": round(rate, 1),
        "frames_per_second_of_rounds": [round(options.frames / each, 1) for each in seconds],
        "first_run_frames_per_second": round(options.frames / first, 1),
        "gpu_utilization_percent": None if None in busy else round(statistics.median(busy)),
        "sdk_frames_per_second": sdk and round(sdk, 1),
        "to_bare": round(rate / bare, 3),
        "to_sdk": sdk and round(rate / sdk, 2),
    }


def annotate(url: str, task_id: int, function: Any) -> None:
    """Annotate a task with prefect-cvat."""
    annotate_task(log_in(url), task_id, function, use_cache=False)


def bare_rate(function: Any, images: list[PIL.Image.Image], count: int) -> float:
    """Images per second of the model over tensors that are on the device."""
    context = DetectionContext("a.jpg")
    tensors = [
        function._on_device(function.preprocess_image(context, image).tensor)
        for image in islice(cycle(images), max(len(images), function.batch_size))
    ]
    size = function.batch_size
    model = function._loaded_model()

    def run(count: int) -> None:
        source = cycle(tensors)
        with torch.inference_mode(), function._autocast():
            for start in range(0, count, size):
                function._run(model, list(islice(source, min(size, count - start))))
        if function.device.startswith("cuda"):
            torch.cuda.synchronize()

    run(min(3 * size, count))
    started = time.perf_counter()
    run(count)
    return count / (time.perf_counter() - started)


def sdk_rate(
    name: str, url: str, images: list[PIL.Image.Image], labels: list[str], options: argparse.Namespace
) -> float | None:
    """Frames per second of the SDK; None if it is not installed, or has no such function."""
    if name != RCNN or importlib.util.find_spec("cvat_sdk") is None:
        return None
    import cvat_sdk.auto_annotation as aa
    from cvat_sdk.auto_annotation.functions import torchvision_detection as sdk_detection
    from cvat_sdk.core.client import Client, Config

    function: Any = sdk_detection.create(RCNN, **RCNN_OPTIONS)
    function._model.to(options.device)
    transforms = function._transforms
    function._transforms = lambda image: transforms(image).to(options.device)
    function.detect(DetectionContext("a.jpg"), images[0])  # loads the libraries of the card
    frames = min(options.frames, options.sdk_frames)
    task_id = make_task(url, images, labels, frames)
    annotate(url, task_id, MODELS["nanodet"](options.device, None))  # the server makes the chunks
    delete_annotations(url, task_id)
    with tempfile.TemporaryDirectory() as folder:
        client = Client(url, config=Config(cache_dir=Path(folder)))
        client.login(("admin", "admin"))
        seconds, _ = timed(
            lambda: aa.annotate_task(client, task_id, function, allow_unmatched_labels=True), options.device
        )
    return frames / seconds


def make_nanodet(device: str, batch_size: int | None) -> Any:
    return nanodet_detection.create(device=device, batch_size=batch_size)


def make_rcnn(device: str, batch_size: int | None) -> Any:
    return torchvision_detection.create(
        RCNN, device=device, batch_size=batch_size, score_threshold=0.0, **RCNN_OPTIONS
    )


def make_rcnn_in_half_precision(device: str, batch_size: int | None) -> Any:
    return torchvision_detection.create(
        RCNN,
        device=device,
        batch_size=batch_size,
        score_threshold=0.0,
        half_precision=True,
        **RCNN_OPTIONS,
    )


MODELS: dict[str, Callable[[str, int | None], Any]] = {
    "nanodet": make_nanodet,
    RCNN: make_rcnn,
    f"{RCNN}, half precision": make_rcnn_in_half_precision,
}


def photos(width: int, height: int) -> list[PIL.Image.Image]:
    """Photographs of one size."""
    found = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    images = [PIL.Image.fromarray(each).resize((width, height)) for each in found]
    return images + [image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) for image in images]


def make_task(url: str, images: list[PIL.Image.Image], labels: list[str], frames: int) -> int:
    """Create a task of JPEGs."""
    client = log_in(url)
    files = []
    for image in images:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    task = client.create_task("benchmark", [label_spec(label, None) for label in labels])
    client.upload_images(
        task.id, {f"{i:06}.jpg": files[i % len(files)] for i in range(frames)}, chunk_size=36
    )
    return task.id


def delete_annotations(url: str, task_id: int) -> None:
    credentials = urllib3.make_headers(basic_auth="admin:admin")
    urllib3.request("DELETE", f"{url}/api/tasks/{task_id}/annotations", headers=credentials)


def timed(work: Callable[[], object], device: str) -> tuple[float, float | None]:
    """Run something; return the seconds, and the utilization of the GPU in percent if it can be had."""
    samples: list[float] = []
    done = threading.Event()

    def sample() -> None:
        while (percent := gpu_utilization(device)) is not None and not done.wait(0.1):
            samples.append(percent)

    sampler = threading.Thread(target=sample)
    sampler.start()
    started = time.perf_counter()
    try:
        work()
        seconds = time.perf_counter() - started
    finally:
        done.set()
        sampler.join()
    return seconds, statistics.mean(samples) if samples else None


def gpu_utilization(device: str) -> float | None:
    """Percent of the last fraction of a second in which the GPU was busy: by NVML or nvidia-smi, or None."""
    if not device.startswith("cuda"):
        return None
    try:
        return torch.cuda.utilization(torch.device(device))
    except Exception:  # NVML or its module is not there
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=10)
            return float(done.stdout.splitlines()[torch.device(device).index or 0])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return None


if __name__ == "__main__":
    main()
