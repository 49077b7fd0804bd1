"""The frames of video chunks: read ahead, backwards and without seeking; and chunks that are broken."""

import gc
import io
import tempfile
import time
import weakref
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from clips import clip, number_on, numbered_picture, reader
from media.prefetching import prefetching_threads
from polling import until
from prefect_cvat import annotate_task
from prefect_cvat.exceptions import MediaError
from prefect_cvat.frames import ChunkBatch, ChunkFile, Frame
from prefect_cvat.media.frame_reader import open_frames, open_frames_reversed
from prefect_cvat.media.video_chunk import VideoChunk
from served_chunks import with_chunks

av = pytest.importorskip("av", reason="PyAV, which videos need, is not installed")


def written_chunk(tmp_path, data, length, *, first_frame=0, number=0):
    path = tmp_path / f"chunk-{number}.mp4"
    path.write_bytes(data)
    return ChunkFile(number, path, first_frame, length, "video")


def frames_of(numbers, size=(160, 64)):
    return [Frame(number, "clip.mp4", *size) for number in numbers]


def test_rotation_in_a_chunk_is_applied(tmp_path):
    chunk = written_chunk(tmp_path, clip(range(5), turned=True), 5)
    with closing(open_frames(ChunkBatch([chunk]), frames_of(range(5)))) as opened:
        assert [(image.size, number_on(image)) for _, image in opened] == [((160, 64), i) for i in range(5)]


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


def test_a_frame_in_none_of_the_chunks_is_named(tmp_path):
    chunk = written_chunk(tmp_path, clip(range(4)), 4)
    for read in (open_frames, open_frames_reversed):
        with pytest.raises(MediaError, match=r"frame 4 \(clip.mp4\) is in none of the chunks"):
            list(read(ChunkBatch([chunk]), frames_of(range(6))))


# --- reading ahead and backwards ---


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
        until(lambda: len(decoded) >= 7)
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


# --- broken chunks ---


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
