import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch

from prefect_cvat.auto_annotation.functions._batches import Batches
from prefect_cvat.auto_annotation.functions._inference import (
    choose_device,
    gather,
    image_to_tensor,
    memory_format,
)
from prefect_cvat.auto_annotation.functions._sixteen_bit_to_rgb import to_rgb


@pytest.mark.parametrize(
    ("cuda_devices", "has_mps", "expected"), [(2, True, "cuda:0"), (0, True, "mps"), (0, False, "cpu")]
)
def test_auto_selects_the_fastest_device(monkeypatch, cuda_devices, has_mps, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda_devices)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
    assert str(choose_device("auto")) == expected


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "", "cuda:x"])
def test_missing_device_error_names_available_devices(device):
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used here; there are auto, .*cpu"):
        choose_device(device)


@pytest.mark.parametrize(
    "mode", ["RGB", "L", "1", "P", "RGBA", "LA", "PA", "CMYK", "YCbCr", "HSV", "LAB", "RGBX"]
)
def test_image_of_any_mode_becomes_rgb(mode):
    photo = PIL.Image.fromarray(skimage.data.astronaut())
    image = to_rgb(photo.convert("RGBA").convert(mode) if mode == "PA" else photo.convert(mode))
    assert image.mode == "RGB"
    assert image.size == photo.size
    grey = np.asarray(photo.convert("L"), dtype=float)
    assert np.corrcoef(np.asarray(image.convert("L"), dtype=float).ravel(), grey.ravel())[0, 1] > 0.6


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
@pytest.mark.parametrize("greatest", [900, 65535])
def test_deep_grey_image_is_scaled_by_its_greatest_value(mode, greatest):
    values = np.linspace(0, greatest, 600 * 4).reshape(4, 600)
    deep = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    image = PIL.Image.fromarray(values.astype(deep))
    assert image.mode == mode
    red, green, blue = np.moveaxis(np.asarray(to_rgb(image), dtype=float), 2, 0)
    assert (red == green).all()
    assert (red == blue).all()
    assert np.abs(red - values / greatest * 255).max() <= 1.5
    assert red.max() == 255


def test_black_16_bit_image_is_decoded_as_black():
    assert np.asarray(to_rgb(PIL.Image.new("I;16", (3, 2)))).max() == 0


def test_transparent_palette_becomes_rgb_without_a_warning():
    image = PIL.Image.new("P", (2, 2))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.info["transparency"] = b"\x00\xff"
    assert to_rgb(image).getpixel((0, 0)) == (255, 0, 0)


def test_tensor_of_image():
    image = PIL.Image.new("RGB", (3, 2), (255, 0, 51))
    image.putpixel((2, 1), (0, 255, 0))
    tensor = image_to_tensor(image)
    assert tensor.shape == (3, 2, 3)
    assert tensor.is_contiguous()
    assert tensor[:, 0, 0].tolist() == pytest.approx([1, 0, 0.2])
    assert tensor[:, 1, 2].tolist() == [0, 1, 0]


def test_gather_keeps_shapes_and_values():
    tensors = [torch.arange(6).view(2, 3), torch.zeros(0, 4), torch.tensor([0.5, 0.25], dtype=torch.float16)]
    gathered = gather(tensors)
    assert [tensor.tolist() for tensor in gathered] == [[[0, 1, 2], [3, 4, 5]], [], [0.5, 0.25]]
    assert gathered[1].shape == (0, 4)
    assert gather([]) == []


class Device:
    """Doubles numbers, as many at once as fit; more raise the error."""

    def __init__(self, room, error):
        self.room = room
        self.error = error
        self.batches = []

    def __call__(self, items):
        self.batches.append(len(items))
        if len(items) > self.room:
            raise self.error
        return [2 * item for item in items]


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.90 GB, max allowed: 18.13 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_batch_size_is_halved_until_it_fits_and_kept(error):
    device = Device(3, error)
    batches = Batches(8)
    assert batches.map(device, list(range(10))) == [2 * item for item in range(10)]
    assert device.batches == [8, 4, 2, 2, 2, 2, 2]
    assert batches.size == 2
    batches.map(device, [1, 2, 3])
    assert device.batches[7:] == [2, 1]


def test_small_last_batch_does_not_grow_the_limit_back():
    device = Device(1, torch.OutOfMemoryError())
    batches = Batches(4)
    batches.map(device, [1, 2])
    assert device.batches == [2, 1, 1]
    assert batches.size == 1


def test_one_item_that_does_not_fit_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        Batches(4).map(Device(0, torch.OutOfMemoryError()), [1, 2])


def test_other_errors_are_not_mistaken_for_out_of_memory():
    device = Device(1, RuntimeError("The size of tensor a must match the size of tensor b"))
    with pytest.raises(RuntimeError, match="must match"):
        Batches(4).map(device, [1, 2, 3])
    assert device.batches == [3]


def test_tensors_of_a_failed_attempt_are_released_before_the_next():
    import weakref

    attempts = []

    def step(items):
        assert all(earlier() is None for earlier in attempts)
        tensor = torch.zeros(len(items))
        attempts.append(weakref.ref(tensor))
        if len(items) > 1:
            raise torch.OutOfMemoryError
        return [tensor.sum().item()]

    assert Batches(4).map(step, [1, 2, 3, 4]) == [0, 0, 0, 0]
    assert len(attempts) == 6


def test_channels_are_last_on_cuda_only():
    assert memory_format(torch.device("cuda", 1)) is torch.channels_last
    assert memory_format(torch.device("cpu")) is torch.preserve_format
