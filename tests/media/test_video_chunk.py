"""Video tasks, created by the official SDK in the sandbox, annotated over real HTTP.

Each frame of the small clips shows its number in the source, and the function reads it: an annotation
on the wrong frame is detected.
"""

import gc
import io
import sys
import tempfile
import threading
import time
import weakref
import zipfile
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from clips import SPEC, clip, number_on, numbered_picture, reader
from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import MediaError, UnsupportedTaskError
from prefect_cvat.frames import ChunkBatch, ChunkFile, Frame
from prefect_cvat.media.frame_reader import open_frames, open_frames_reversed
from prefect_cvat.media.video_chunk import VideoChunk
from served_chunks import chunk_of, with_chunks

av = pytest.importorskip("av", reason="PyAV, which videos need, is not installed")


def numbers_found(client, task_id):
    """What was read on each frame, by relative frame."""
    shapes = [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]
    return {shape["frame"]: round(shape["points"][2]) - 1 for shape in shapes}


def written_chunk(tmp_path, data, length, *, first_frame=0, number=0):
    path = tmp_path / f"chunk-{number}.mp4"
    path.write_bytes(data)
    return ChunkFile(number, path, first_frame, length, "video")


def frames_of(numbers, size=(160, 64)):
    return [Frame(number, "clip.mp4", *size) for number in numbers]


CLIPS = {
    "plain": ({}, {}, range(30)),
    "pictures that are stored in another order": ({"bf": 3, "g": 8, "b-pyramid": "normal"}, {}, range(30)),
    "every picture a keyframe": ({"g": 1}, {}, range(30)),
    "a rate that varies": ({"times": [i * i + 7 * i for i in range(30)], "bf": 2}, {}, range(30)),
    "rotation metadata": ({"turned": True}, {}, range(30)),
    "odd sides": ({"size": (161, 63)}, {}, range(30)),
    "step": ({}, {"frame_step": 3}, range(0, 30, 3)),
    "start": ({}, {"start_frame": 5}, range(5, 30)),
    "start, stop and step": (
        {"bf": 3},
        {"start_frame": 2, "stop_frame": 24, "frame_step": 4},
        range(2, 25, 4),
    ),
    "one frame": ({}, {"start_frame": 29}, range(29, 30)),
    "a chunk that is not full": ({}, {"chunk_size": 16}, range(30)),
    "a chunk that is longer than the video": ({}, {"chunk_size": 100}, range(30)),
}


@pytest.mark.parametrize(("encoding", "parameters", "expected"), CLIPS.values(), ids=CLIPS)
def test_detections_are_written_to_their_frames(client, video_task, encoding, parameters, expected):
    task_id = video_task(clip(range(30), **encoding), **parameters)

    report = annotate_task(client, task_id, reader())

    assert numbers_found(client, task_id) == dict(enumerate(expected))
    assert report.frames == len(expected)
    sizes = {(frame.width, frame.height) for frame in client.meta(task_id).frames}
    assert sizes == {encoding.get("size", (160, 64))}


def test_sandbox_chunks_are_rotated_upright_like_those_of_cvat(client, video_task):
    task_id = video_task(clip(range(6), turned=True))
    data = chunk_of(client, task_id, 0)
    with av.open(io.BytesIO(data)) as container:
        pictures = list(container.decode(video=0))
    assert [(p.width, p.height, p.rotation) for p in pictures] == [(160, 64, 0)] * 4
    assert [number_on(p.to_image()) for p in pictures] == [0, 1, 2, 3]


def test_rotation_in_a_chunk_is_applied(tmp_path):
    chunk = written_chunk(tmp_path, clip(range(5), turned=True), 5)
    with closing(open_frames(ChunkBatch([chunk]), frames_of(range(5)))) as opened:
        assert [(image.size, number_on(image)) for _, image in opened] == [((160, 64), i) for i in range(5)]


def test_only_selected_frames_are_decoded(client, video_task):
    task_id = video_task(clip(range(20), bf=2))
    annotate_task(client, task_id, reader(), frames=[1, 3, 10, 19])
    assert numbers_found(client, task_id) == {1: 1, 3: 3, 10: 10, 19: 19}


def test_frames_in_two_jobs_are_written_to_both(client, video_task):
    task_id = video_task(clip(range(20)), segment_size=10)  # CVAT overlaps videos by 5 frames
    annotate_task(client, task_id, reader())
    by_job = {
        job.start_frame: [
            (s["frame"], round(s["points"][2]) - 1) for s in client.job_annotations(job.id).shapes
        ]
        for job in client.jobs(task_id)
    }
    assert by_job == {start: [(i, i) for i in range(start, min(start + 10, 20))] for start in (0, 5, 10)}


def test_deleted_frames_keep_their_place(client, video_task):
    task_id = video_task(clip(range(10)))
    client._transport.json("PATCH", f"/api/tasks/{task_id}/data/meta", body={"deleted_frames": [0, 5]})
    annotate_task(client, task_id, reader())
    assert numbers_found(client, task_id) == {i: i for i in range(10) if i not in (0, 5)}


def test_a_function_that_takes_several_images_and_fails_on_one(client, video_task):
    task_id = video_task(clip(range(12)), chunk_size=12)

    def detect_batch(contexts, images):
        numbers = list(map(number_on, images))
        if 7 in numbers:
            raise ZeroDivisionError("oh no")
        return [[rectangle(7, [0, 0, 1 + number, 5])] for number in numbers]

    function = SimpleNamespace(spec=SPEC, detect_batch=detect_batch, batch_size=5)
    report = annotate_task(client, task_id, function, on_frame_error="skip")

    assert numbers_found(client, task_id) == {i: i for i in range(12) if i != 7}
    assert list(report.frame_errors) == [7]
    assert not prefetching_threads()


def test_failed_function_stops_reading(client, video_task):
    task_id = video_task(clip(range(40)), chunk_size=40)

    def detect(context, image):
        raise ZeroDivisionError("oh no")

    with pytest.raises(ValueError, match="frame 0 .*oh no"):
        annotate_task(client, task_id, SimpleNamespace(spec=SPEC, detect=detect))
    assert not prefetching_threads()


def test_frames_equal_those_shown_by_the_server(client, sdk, video_task, test_data):
    data = (test_data / "video" / "pedestrians.mp4").read_bytes()
    task_id = video_task(data, name="pedestrians.mp4", chunk_size=36)
    wanted = [0, 35, 36, 100, 149]
    seen = {}

    def detect(context, image):
        seen[len(seen)] = image.convert("RGB")
        return []

    annotate_task(client, task_id, SimpleNamespace(spec=SPEC, detect=detect), frames=wanted)

    import numpy as np
    import PIL.Image

    shown = [PIL.Image.open(sdk.tasks.retrieve(task_id).get_frame(number)) for number in wanted]
    shown = [np.asarray(image.convert("RGB"), dtype=float) for image in shown]
    for index in range(len(wanted)):
        image = np.asarray(seen[index], dtype=float)
        distances = [abs(image - other).mean() for other in shown]
        assert distances[index] < 4, "the chunk is encoded anew, so pixels differ a little"
        assert min(range(len(wanted)), key=distances.__getitem__) == index


def test_people_are_found_in_a_real_video(client, sdk, test_data):
    from prefect_cvat.auto_annotation.loading import load_function

    task = sdk.tasks.create_from_data(
        {"name": "pedestrians", "labels": [{"name": "person"}]},
        [test_data / "video" / "pedestrians.mp4"],
        data_params={"image_quality": 70, "frame_step": 30},
    )
    report = annotate_task(client, task.id, load_function("nanodet_detection"), allow_unmatched_labels=True)
    frames = {s["frame"] for job in client.jobs(task.id) for s in client.job_annotations(job.id).shapes}
    assert report.frames == 5
    assert frames == set(range(5))


# --- quality ---


def asked_for(monkeypatch):
    """The parameters of each request for a chunk, in order."""
    asked = []
    with_chunks(monkeypatch, lambda params, data: asked.append(params))
    return asked


def test_compressed_zip_chunks_of_a_video_may_be_used(client, video_task, monkeypatch):
    task_id = video_task(clip(range(10)), use_zip_chunks=True, start_frame=1)
    asked = asked_for(monkeypatch)
    annotate_task(client, task_id, reader(), quality="compressed")
    assert numbers_found(client, task_id) == {i: i + 1 for i in range(9)}
    assert {params["quality"] for params in asked} == {"compressed"}


def test_compressed_chunks_of_images_may_be_used(client, make_task, monkeypatch):
    task_id = make_task(3)
    asked = asked_for(monkeypatch)
    formats = []

    def detect(context, image):
        formats.append(image.format)
        return []

    annotate_task(client, task_id, SimpleNamespace(spec=SPEC, detect=detect), quality="compressed")
    assert formats == ["JPEG"] * 3
    assert {params["quality"] for params in asked} == {"compressed"}


def test_compressed_videos_are_refused_before_chunks_are_fetched(client, video_task, monkeypatch):
    task_id = video_task(clip(range(4)))
    asked = asked_for(monkeypatch)
    with pytest.raises(
        UnsupportedTaskError, match="CVAT makes large frames smaller.*quality='original'"
    ) as e:
        annotate_task(client, task_id, reader(), quality="compressed")
    assert f"task {task_id} ('a video')" in str(e.value)
    assert not asked


def test_cached_detections_of_one_quality_are_not_used_for_the_other(client, video_task):
    task_id = video_task(clip(range(4)), use_zip_chunks=True)
    reports = [
        annotate_task(client, task_id, reader(version="1"), quality=quality)
        for quality in ("original", "original", "compressed", "compressed")
    ]
    assert [report.frames_from_cache for report in reports] == [0, 4, 0, 4]


def test_an_unknown_quality_is_refused(client, make_task):
    with pytest.raises(ValueError, match="quality must be 'original' or 'compressed', not 'best'"):
        annotate_task(client, make_task(1), reader(), quality="best")


@pytest.mark.parametrize("use_zip_chunks", [False, True])
def test_missing_pyav_is_named_before_chunks_are_fetched(client, video_task, monkeypatch, use_zip_chunks):
    task_id = video_task(clip(range(4)), use_zip_chunks=use_zip_chunks)
    if use_zip_chunks:
        chunk_of(
            client, task_id, 0, quality="compressed"
        )  # the sandbox, in this process, needs PyAV to make it
    asked = asked_for(monkeypatch)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnsupportedTaskError, match=r'pip install "prefect-cvat\[video\]"') as error:
        annotate_task(client, task_id, reader())
    assert not asked
    assert ("quality='compressed'" in str(error.value)) == use_zip_chunks
    if use_zip_chunks:
        annotate_task(client, task_id, reader(), quality="compressed")
        assert numbers_found(client, task_id) == {i: i for i in range(4)}


# --- bad input ---


def broken_picture(data):
    """Overwrite the data of a frame in the middle."""
    with av.open(io.BytesIO(data)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    victim = packets[2]
    at = data.index(victim)
    return data[:at] + bytes([255] * len(victim)) + data[at + len(victim) :]


def index_first(data):
    """The same mp4 with its index at the front, as servers stream them: a cut leaves it readable."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "streamed.mp4"
        with (
            av.open(io.BytesIO(data)) as container,
            av.open(str(path), "w", options={"movflags": "+faststart"}) as output,
        ):
            stream = output.add_stream_from_template(container.streams.video[0])
            for packet in container.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
        return path.read_bytes()


BAD_CHUNKS = {
    "cut": (lambda data: data[: len(data) // 2], "chunk 1 .frames 4-7. is not a video that can be decoded"),
    "cut behind its index": (
        lambda data: index_first(clip(range(4, 8), g=1, crf=1))[:-100],
        r"chunk 1 \(frames 4-7\) (is broken or was cut short after 3 frames|holds 3 frames)",
    ),
    "garbage": (lambda data: b"no video" * 500, "chunk 1 .frames 4-7. is not a video that can be decoded"),
    "empty": (lambda data: b"", "chunk 1 .frames 4-7. is not a video that can be decoded"),
    "no codec for it": (
        lambda data: data.replace(b"avc1", b"zzzz"),
        "chunk 1 .frames 4-7. is encoded in a way that the installed PyAV cannot decode",
    ),
    "fewer frames": (lambda data: clip(range(4, 7)), "chunk 1 .frames 4-7. holds 3 frames where 4 were expe"),
    "more frames": (lambda data: clip(range(4, 9)), "chunk 1 .frames 4-7. holds 5 frames where 4 were expe"),
    "another size": (
        lambda data: clip(range(4, 8), size=(176, 80)),
        r"frame 4 \(clip.mp4\) in chunk 1 .frames 4-7. is 176x80 pixels, but the task says 160x64",
    ),
    "lying on its side": (
        lambda data: clip(range(4, 8), size=(64, 160)),
        "is 64x160 pixels, but the task says 160x64",
    ),
    "a broken picture": (broken_picture, r"frames? \d|chunk 1"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_bad_chunk_is_named_and_the_task_is_unchanged(client, video_task, monkeypatch, spoil, message):
    task_id = video_task(clip(range(12)))
    [job] = client.jobs(task_id)
    label = client.labels(task_id)[0].id
    human = {"type": "rectangle", "frame": 0, "label_id": label, "points": [1, 2, 11, 12], "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [human]})
    before = client.job_annotations(job.id)
    with_chunks(monkeypatch, lambda params, data: spoil(data) if params["number"] == 1 else data)
    with pytest.raises(MediaError, match=message) as error:
        annotate_task(client, task_id, reader(), frames_per_batch=4, clear_existing=True)

    assert str(error.value).startswith(f"task {task_id}, batch 1 (frames 4-7): ")
    assert client.job_annotations(job.id) == before
    assert not prefetching_threads()


# --- reading ahead and backwards ---


def prefetching_threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_closing_early_ends_the_thread_and_deletes_no_file_in_use(tmp_path):
    chunk = written_chunk(tmp_path, clip(range(100)), 100)
    opened = open_frames(ChunkBatch([chunk]), frames_of(range(100)))
    assert number_on(next(opened)[1]) == 0
    assert prefetching_threads()
    opened.close()
    assert not prefetching_threads()


def test_prefetched_frames_are_bounded_in_bytes(tmp_path, monkeypatch):
    chunk = written_chunk(tmp_path, clip(range(60)), 60)
    decoded = []
    original = VideoChunk._image
    monkeypatch.setattr(VideoChunk, "_image", lambda *a: decoded.append(1) or original(*a))
    monkeypatch.setattr("prefect_cvat.media.frame_reader.BYTES_AHEAD", 5 * 160 * 64 * 4)
    with closing(open_frames(ChunkBatch([chunk]), frames_of(range(60)))) as opened:
        next(opened)
        deadline = time.monotonic() + 10
        while len(decoded) < 7 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        assert len(decoded) == 7, "one is taken, five wait, one has no room yet"


ENCODINGS = {
    "one keyframe": {},
    "many keyframes": {"g": 4, "bf": 0},
    "reordered": {"g": 6, "bf": 3, "b-pyramid": "normal"},
    "open groups": {"g": 6, "bf": 3, "x264-params": "open-gop=1"},
    "two pictures a group": {"g": 2, "bf": 1},
}


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("frames_held", [2, 6, 1000])
@pytest.mark.parametrize("every", [1, 5])
def test_reversed_reading_gives_the_same_frames_from_the_last_to_the_first(
    tmp_path, encoding, frames_held, every
):
    chunks = [
        written_chunk(
            tmp_path, clip(range(i * 30, i * 30 + 30), **encoding), 30, first_frame=i * 30, number=i
        )
        for i in range(2)
    ]
    box, frames = ChunkBatch(chunks), frames_of(range(3, 60, every))
    with closing(open_frames(box, frames)) as opened:
        forwards = [(frame, image.tobytes()) for frame, image in opened]
    with closing(open_frames_reversed(box, frames, max_bytes=frames_held * 160 * 64 * 4)) as opened:
        backwards = [(frame, image.tobytes()) for frame, image in opened]
    assert [frame for frame, _ in forwards] == frames
    assert backwards == forwards[::-1]


def test_reversed_reading_uses_bounded_memory(tmp_path, monkeypatch):
    chunk = written_chunk(tmp_path, clip(range(60), g=10), 60)
    made = []
    original = VideoChunk._image

    def image_of(*arguments):
        image = original(*arguments)
        made.append(weakref.ref(image))
        return image

    monkeypatch.setattr(VideoChunk, "_image", image_of)
    most = 0
    box, limit = ChunkBatch([chunk]), 8 * 160 * 64 * 4
    gc.collect()
    gc.freeze()  # else each collection below scans all objects of the process
    try:
        with closing(open_frames_reversed(box, frames_of(range(60)), max_bytes=limit)) as opened:
            for _ in opened:
                time.sleep(0.005)
                gc.collect()
                most = max(most, sum(image() is not None for image in made))
    finally:
        gc.unfreeze()
    assert len(made) == 60
    assert 4 <= most <= 8 + 1, "and the one that is looked at"


def test_images_of_zips_can_be_read_backwards(tmp_path):
    path = tmp_path / "chunk-0.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(7):
            with archive.open(f"{number:06}.png", "w") as member:
                numbered_picture(number).save(member, "PNG")
    box = ChunkBatch([ChunkFile(0, path, 0, 7)])
    with closing(open_frames_reversed(box, frames_of(range(1, 7)))) as opened:
        assert [(frame.number, number_on(image)) for frame, image in opened] == [
            (i, i) for i in range(6, 0, -1)
        ]


def test_a_frame_in_none_of_the_chunks_is_named(tmp_path):
    chunk = written_chunk(tmp_path, clip(range(4)), 4)
    for read in (open_frames, open_frames_reversed):
        with pytest.raises(MediaError, match=r"frame 4 \(clip.mp4\) is in none of the chunks"):
            list(read(ChunkBatch([chunk]), frames_of(range(6))))


def test_a_spec_may_have_more_labels_than_the_task(client, video_task):
    task_id = video_task(clip(range(4)))
    function = SimpleNamespace(
        spec=DetectionFunctionSpec(labels=[label_spec("car", 7), label_spec("bus", 8)]),
        detect=reader().detect,
    )
    annotate_task(client, task_id, function, allow_unmatched_labels=True)
    assert numbers_found(client, task_id) == {i: i for i in range(4)}


@pytest.mark.parametrize("encoding", [{"g": 250}, {"g": 20, "bf": 3}, {"g": 1}], ids=str)
def test_consecutive_frames_are_decoded_without_seeking(tmp_path, encoding):
    class Counting(VideoChunk):
        seeks = 0

        def _seek(self, time):
            self.seeks += 1
            super()._seek(time)

    chunk = written_chunk(tmp_path, clip(range(100), sc_threshold=0, **encoding), 100)
    with Counting(chunk) as opened:
        for numbers in (range(5), range(5, 9), range(12, 16, 2)):
            found = [number_on(image) for _, image in opened.images(frames_of(numbers))]
            assert found == list(numbers)
        assert opened.seeks == (3 if encoding["g"] == 1 else 1)
        for numbers in (range(70, 74), range(14, 18), range(17, 19), range(99, 100), [99], range(3)):
            found = [number_on(image) for _, image in opened.images(frames_of(numbers))]
            assert found == list(numbers)
        part = opened.images(frames_of(range(40, 50)))
        assert number_on(next(part)[1]) == 40
        part.close()
        assert [number_on(image) for _, image in opened.images(frames_of([41, 60]))] == [41, 60]
