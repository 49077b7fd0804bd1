"""Malicious chunks, images and videos are refused by name, and none is executed."""

import contextlib
import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace

import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from changing_proxy import change_bodies, changing_proxy
from clips import clip
from pictures import picture
from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import MediaError
from prefect_cvat.frames import ChunkBatch, ChunkFile, Frame
from prefect_cvat.media.frame_reader import open_frames
from prefect_cvat.media.untrusted_images import decode_pixels
from prefect_cvat.rendering.preview import open_image_files
from prefect_cvat.sandbox.media.images import BrokenImageError, inspect

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\nshowpage\n%%EOF\n"
SIZE = (64, 48)


def zipped(*members, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for number, data in enumerate(members):
            archive.writestr(f"{number:06}.png", data)
    return buffer.getvalue()


def spoilt(data, method):
    """Overwrite the data of the first member; the directory keeps its compression method."""
    compressed = bytearray(zipped(data, picture(seed=1), method=method))
    compressed[60:120] = b"\xff" * 60
    return bytes(compressed)


def with_many_entries(count):
    """Two images, and an overlong directory."""
    data = zipped(picture(), picture(seed=1))
    at = data.index(b"PK\x01\x02")
    entry = data[at : data.index(b"PK\x01\x02", at + 1)]
    directory = entry * count
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), at, 0)
    return data[:at] + directory + end


def bomb_of_png():
    """A PNG with 40,000 by 40,000 pixels in its header."""
    data = bytearray(picture())
    struct.pack_into(">II", data, 16, 40_000, 40_000)
    return bytes(data)


def as_chunk(tmp_path, data, type="imageset", length=2):
    path = tmp_path / "chunk"
    path.write_bytes(data)
    return ChunkBatch([ChunkFile(0, path, 0, length, type)])


def look_at_all(box, size=SIZE, length=2):
    for frame, image in open_frames(box, [Frame(i, f"{i}.png", *size) for i in range(length)]):
        decode_pixels(image, frame)


HOSTILE = {
    "deflate that is broken": spoilt(picture(), zipfile.ZIP_DEFLATED),
    "lzma that is broken": spoilt(picture(), zipfile.ZIP_LZMA),
    "bzip2 that is broken": spoilt(picture(), zipfile.ZIP_BZIP2),
    "a bomb": zipped(bytes(2**26), bytes(2**26), method=zipfile.ZIP_DEFLATED),
    "a bomb of lzma": zipped(bytes(2**26), bytes(2**26), method=zipfile.ZIP_LZMA),
    "a directory of a million entries": with_many_entries(1_000_000),
    "an image that says it has 1.6e9 pixels": zipped(bomb_of_png(), bomb_of_png()),
    "eps": zipped(EPS, EPS),
    "an image that is cut short": zipped(picture()[:500], picture()),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_zip_is_refused_by_name_with_little_memory(tmp_path, data):
    box = as_chunk(tmp_path, data)
    tracemalloc.start()
    try:
        with pytest.raises(MediaError, match="frame 0 |chunk 0 "):
            look_at_all(box)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_refuses_a_file_by_its_size_before_reading_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_MAX_IMAGE_BYTES", str(2**22))
    chunk = as_chunk(tmp_path, zipped(picture() + bytes(2**24), picture()))
    tracemalloc.start()
    try:
        with pytest.raises(MediaError, match="frame 0 .* of memory .* for its file.*MAX_IMAGE_BYTES"):
            look_at_all(chunk)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("image_format", ["WEBP", "AVIF"])
def test_counts_the_copy_that_a_library_makes_of_the_file(tmp_path, monkeypatch, image_format):
    monkeypatch.setenv("PREFECT_CVAT_MAX_IMAGE_BYTES", str(2**23))
    data = picture(image_format=image_format) + bytes(5 * 2**20)
    with pytest.raises(MediaError, match="frame 0 .* of memory .* for its file"):
        look_at_all(as_chunk(tmp_path, zipped(data, data)))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_zip_with_changed_bytes_is_read_or_refused_by_name(tmp_path_factory, changes):
    data = bytearray(zipped(picture(), picture(seed=1, image_format="JPEG")))
    for at, value in changes:
        data[at % len(data)] = value
    with contextlib.suppress(MediaError):  # any other error fails the test
        look_at_all(as_chunk(tmp_path_factory.getbasetemp(), bytes(data)))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_video_with_changed_bytes_is_read_or_refused_by_name(tmp_path_factory, changes):
    data = bytearray(clip(range(2)))
    for at, value in changes:
        data[at % len(data)] = value
    with contextlib.suppress(MediaError):  # any other error fails the test
        look_at_all(as_chunk(tmp_path_factory.getbasetemp(), bytes(data), "video"), (160, 64))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_hostile_chunk_leaves_no_annotations(sandbox, client, make_task, method):
    task_id = make_task(6)
    broken = spoilt(picture(), method)

    def change(_method, path, body):
        return broken if "type=chunk" in path and "number=2" in path else body

    with changing_proxy(sandbox.url, change_bodies(change)) as url, Client(url) as through_proxy:
        through_proxy.login((sandbox.user, sandbox.password))
        with pytest.raises(MediaError, match="frame 4 "):
            annotate_task(through_proxy, task_id, boxes(), frames_per_batch=2)
    assert client.task_annotations(task_id).shapes == []


def boxes():
    def detect(context, image):
        image.load()
        return [rectangle(0, [1, 2, 30, 40])]

    spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])
    return SimpleNamespace(spec=spec, detect=detect)


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program called gs that reports its start."""
    folder = tmp_path / "bin"
    folder.mkdir()
    started = tmp_path / "started"
    (folder / "gs").write_text(f"#!/bin/sh\ntouch {started}\n")
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # what Pillow has found before
    return started


def test_images_start_no_program(tmp_path, ghostscript):
    path = tmp_path / "0.jpg"
    path.write_bytes(EPS)
    with pytest.raises(OSError, match=".*"), PIL.Image.open(path) as image:
        image.load()
    assert ghostscript.exists(), "Pillow itself starts Ghostscript: so this test would see it"
    ghostscript.unlink()

    with pytest.raises(MediaError, match=r"0\.jpg.* is not an image that can be opened"):
        open_image_files({0: path})
    with pytest.raises(BrokenImageError):
        inspect(path)
    with pytest.raises(MediaError, match="frame 0 "):
        look_at_all(as_chunk(tmp_path, zipped(EPS, EPS)))
    assert not ghostscript.exists()


@pytest.mark.parametrize(
    "image_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "TGA", "AVIF"]
)
def test_image_formats_of_cvat_are_read(tmp_path, image_format):
    images = [picture(seed=i, image_format=image_format) for i in range(2)]
    look_at_all(as_chunk(tmp_path, zipped(*images)))


def test_playlist_instead_of_a_video_opens_no_other_file(tmp_path):
    (tmp_path / "other.mp4").write_bytes(clip(range(2)))
    box = as_chunk(tmp_path, b"ffconcat version 1.0\nfile 'other.mp4'\n", "video")
    with pytest.raises(MediaError, match="chunk 0 .* is not a video that can be decoded"):
        look_at_all(box, (160, 64))


def with_counts(count):
    """A small mp4 with a false frame count."""
    data = bytearray(clip(range(2)))
    struct.pack_into(">III", data, data.index(b"stsz") + 4, 0, 1, count)
    struct.pack_into(">I", data, data.index(b"stsc") + 16, count)
    struct.pack_into(">I", data, data.index(b"stts") + 12, count)
    return bytes(data)


PEAK = """
import resource, sys
from pathlib import Path
from prefect_cvat.exceptions import MediaError
from prefect_cvat.frames import ChunkFile
from prefect_cvat.media.video_chunk import VideoChunk, import_pyav
import_pyav()
error = None
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    VideoChunk(ChunkFile(0, Path(sys.argv[1]), 0, 2, "video"))
except MediaError as raised:
    error = raised
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


@pytest.mark.parametrize("count", [900_000, 40_000_000])
def test_video_with_a_huge_frame_count_uses_little_memory(tmp_path, count):
    path = tmp_path / "chunk.mp4"
    path.write_bytes(with_counts(count))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, timeout=120, check=True
    )
    kilobytes, _, message = done.stdout.partition(" ")
    assert int(kilobytes) < 100_000
    assert ("its index has" in message) == (count > 1_000_000)


def test_a_video_whose_frames_become_larger_is_refused(tmp_path):
    """The index says 160x64; the pictures themselves say more."""
    large, small = clip(range(2), size=(1600, 1200)), clip(range(2))
    small_size, large_size = struct.pack(">HH", 160, 64), struct.pack(">HH", 1600, 1200)
    at = large.index(large_size, large.index(b"avc1"))
    lying = large[:at] + small_size + large[at + 4 :]
    assert small_size in small
    with pytest.raises(MediaError, match=r"chunk 0 \(frames 0-1\)"):
        look_at_all(as_chunk(tmp_path, lying, "video"), (160, 64))


@pytest.mark.parametrize("type", ["imageset", "video"])
def test_images_and_videos_beyond_max_image_bytes_are_refused(tmp_path, monkeypatch, type):
    monkeypatch.setenv("PREFECT_CVAT_MAX_IMAGE_BYTES", str(2**22))
    size = (1600, 1200)
    data = clip(range(2), size=size) if type == "video" else zipped(picture(*size), picture(*size))
    chunk = as_chunk(tmp_path, data, type)
    wanted = "frame 0 .*1600x1200 pixels.* more than 4194304 .*raise PREFECT_CVAT_MAX_IMAGE_BYTES"
    with pytest.raises(MediaError, match=wanted):
        look_at_all(chunk, size)
    monkeypatch.setenv("PREFECT_CVAT_MAX_IMAGE_BYTES", str(2**25))
    look_at_all(chunk, size)


DETECTING = """
import io, sys, resource
import PIL.Image
from prefect_cvat.inference.detector import Detector
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec
from prefect_cvat.exceptions import MediaError
from prefect_cvat.media.untrusted_images import decode_pixels
from prefect_cvat.frames import Frame
from prefect_cvat.media.image_chunk import read_image

class Function:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])
    def detect_batch(self, contexts, images):
        for image in images:
            image.load()
        return [[] for _ in images]

width, height = int(sys.argv[2]), int(sys.argv[3])
data = open(sys.argv[1], "rb").read()
frames = [Frame(number, "x", width, height) for number in range(4)]
found = list(Detector(Function()).detect((frame, read_image(data, frame)) for frame in frames))
assert len(found) == 4
print(int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
@pytest.mark.parametrize(
    ("format", "mode", "size", "options"),
    [
        ("JPEG", "RGB", (6700, 6700), {}),
        ("JPEG", "CMYK", (6700, 6700), {}),
        ("JPEG", "RGB", (4200, 4200), {"progressive": True, "subsampling": 0}),
        ("PNG", "RGBA", (6700, 6700), {}),
        ("WEBP", "RGB", (3300, 3300), {}),
        ("TIFF", "RGB", (4000, 4000), {}),
        ("PNG", "RGB", (2000, 2000), {}),
    ],
)
def test_several_images_of_the_largest_size_are_detected_on_in_300_mb(tmp_path, format, mode, size, options):
    file = tmp_path / "image"
    PIL.Image.new(mode, size).save(file, format, **options)
    done = subprocess.run(
        [sys.executable, "-c", DETECTING, str(file), *map(str, size)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-1000:]
    assert int(done.stdout) < 300
