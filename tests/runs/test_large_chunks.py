"""Chunks of many frames: batches are parts of them, and each chunk is fetched once."""

import pytest

from clips import clip, reader
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.export.task import export_task
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import PART_FRAMES
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from served_chunks import with_chunks


class Counting:
    """A function that finds a car as wide as the frame number, and counts its images."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
    version = "1"

    def __init__(self, fails_at=None):
        self.seen = []
        self.fails_at = fails_at

    def detect(self, context, image):
        number = int(context.frame_name[:4])
        if number == self.fails_at:
            return ["no shape"]
        self.seen.append(number)
        return [rectangle(1, [0, 0, 1 + number / 10, 9])]


class Watching(ThreadSubmitter):
    """Records the number of frames of batches, and the chunks on disk after the detection of each."""

    def __init__(self):
        super().__init__()
        self.sizes = []
        self.on_disk = []

    def submit(self, stage, run, *args):
        if stage == "fetch_batch":
            self.sizes.append(len(args[0].frames))
        future = super().submit(stage, run, *args)
        if stage == "detect_batch":
            future.add_done_callback(
                lambda _: self.on_disk.append(sorted(path.name for path in run.folder.iterdir()))
            )
        return future


@pytest.fixture
def downloads(monkeypatch):
    chunks = []
    with_chunks(monkeypatch, lambda params, data: chunks.append(params["number"]))
    return chunks


def annotate(client, task_id, function, **options):
    with Watching() as submitter:
        report = run_pipeline(AnnotateRun(client, task_id, function, Options(**options)), submitter)
    return report, submitter


def widths(client, task_id):
    """What was found, by frame."""
    shapes = [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]
    assert len({shape["frame"] for shape in shapes}) == len(shapes)
    return {shape["frame"]: shape["points"][2] for shape in shapes}


def expected(frames):
    return {frame: pytest.approx(1 + frame / 10) for frame in frames}


@pytest.mark.parametrize("options", [{}, {"frames_per_batch": 30}, {"window": 1}, {"use_cache": False}])
def test_batches_are_parts_of_large_chunks_and_each_chunk_is_fetched_once(
    client, make_task, downloads, monkeypatch, options
):
    task_id = make_task(530, chunk_size=260, size=(60, 12))
    monkeypatch.setenv("PREFECT_CVAT_MAX_SPOOL_BYTES", "0")
    function = Counting()
    report, submitter = annotate(client, task_id, function, **options)
    assert max(submitter.sizes) <= 150
    assert sum(submitter.sizes) == report.frames == 530
    assert sorted(downloads) == [0, 1, 2]
    assert widths(client, task_id) == expected(range(530))
    assert function.seen == list(range(530))
    # a chunk is removed after its last batch
    assert "chunk-0.zip" in submitter.on_disk[0]
    assert [name for name in submitter.on_disk[-1] if name.startswith("chunk")] == []
    if options.get("window") == 1:
        assert all(len(names) <= 4 for names in submitter.on_disk), "two chunks at the most"


def test_failed_run_continues_at_its_part_of_the_chunk(client, make_task, downloads):
    task_id = make_task(330, chunk_size=330, size=(60, 12))
    with pytest.raises(BadFunctionError):
        annotate(client, task_id, Counting(fails_at=2 * PART_FRAMES + 10), frames_per_batch=1)
    again = Counting()
    report, _ = annotate(client, task_id, again, frames_per_batch=1000)
    assert again.seen == list(range(2 * PART_FRAMES, 330))
    assert report.frames_from_cache == 2 * PART_FRAMES
    assert downloads == [0, 0]
    assert widths(client, task_id) == expected(range(330))
    last, _ = annotate(client, task_id, Counting(), frames_per_batch=7)
    assert (last.frames_from_cache, last.added) == (330, 0)
    assert downloads == [0, 0]


def test_cached_part_is_found_with_other_frame_selection(client, make_task, downloads):
    task_id = make_task(330, chunk_size=330, size=(60, 12))
    annotate(client, task_id, Counting())
    function = Counting()
    report, _ = annotate(client, task_id, function, frames=range(PART_FRAMES, 170))
    assert report.frames_from_cache == PART_FRAMES
    assert function.seen == list(range(2 * PART_FRAMES, 170))


def test_images_of_a_large_chunk_are_exported_once(client, make_task, downloads, tmp_path):
    task_id = make_task(250, chunk_size=250, size=(60, 12))
    annotate(client, task_id, Counting(), frames=range(150))
    export_task(client, task_id, Counting(), folder=tmp_path / "out")
    assert downloads == [0, 0]
    assert len(list((tmp_path / "out").rglob("*.png"))) == 250


def test_frames_of_parts_of_a_video_chunk_are_the_right_ones(client, video_task, downloads):
    task_id = video_task(clip(range(158), bf=2, g=60), chunk_size=1000)
    report, submitter = annotate(client, task_id, reader(), frames_per_batch=1)
    assert submitter.sizes == [PART_FRAMES, PART_FRAMES, 158 - 2 * PART_FRAMES]
    assert downloads == [0]
    assert widths(client, task_id) == {frame: frame + 1 for frame in range(158)}
    assert report.frames == 158
