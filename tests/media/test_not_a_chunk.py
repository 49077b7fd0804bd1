"""Invalid chunks count as network errors: they are requested again, and written annotations are kept."""

import io
import struct
import zipfile

import pytest

from changing_proxy import changing_proxy
from clips import clip
from damaged_chunks import damage_chunks, empty_body, half_without_length, no_content, sign_in_page
from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import TransportError, is_transient
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.media.chunk_checks import problem_of_chunk

DAMAGED = pytest.mark.parametrize("damage", [sign_in_page, no_content, empty_body, half_without_length])


class Boxes:
    version = "1"
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])

    def detect(self, context, image):
        image.load()
        return [rectangle(1, [0, 0, 9, 9])]


def client_of(sandbox, url, **retry):
    client = Client(url, retry=RetryPolicy(first_delay=0.02, longest_delay=0.05, **retry))
    client.login((sandbox.user, sandbox.password))
    return client


def frames_annotated(client, task_id):
    return sorted(s["frame"] for job in client.jobs(task_id) for s in client.job_annotations(job.id).shapes)


@pytest.fixture(params=["images", "video"])
def task_id(request, make_task, video_task):
    """A task of six frames, in three chunks or two."""
    return make_task(6) if request.param == "images" else video_task(clip(range(6)))


@DAMAGED
def test_invalid_chunk_is_requested_again(sandbox, client, task_id, damage):
    with changing_proxy(sandbox.url, damage_chunks(damage, {"0", "1"}, times=2)) as url:
        annotate_task(client_of(sandbox, url), task_id, Boxes(), frames_per_batch=2)
    assert frames_annotated(client, task_id) == list(range(6))


@DAMAGED
def test_permanently_invalid_chunk_fails_the_run_and_keeps_written_annotations(
    sandbox, client, task_id, damage
):
    with changing_proxy(sandbox.url, damage_chunks(damage, {"1"}, times=10**6)) as url:
        impatient = client_of(sandbox, url, give_up_after=0.3)
        with pytest.raises(
            TransportError, match=rf"/api/tasks/{task_id}/data was answered with 20[04]"
        ) as error:
            annotate_task(impatient, task_id, Boxes(), frames_per_batch=2)
    assert is_transient(error.value)
    done = frames_annotated(client, task_id)
    assert done
    assert len(done) < 6
    annotate_task(client, task_id, Boxes(), frames_per_batch=2)
    assert frames_annotated(client, task_id) == list(range(6))


def test_run_survives_one_500_for_each_read(sandbox, client, make_task):
    task_id = make_task(6)
    sandbox.faults.set(
        [{"methods": ["GET"], "fault": {"kind": "status", "status": 500}, "times": 1, "per_path": True}],
        seed=1,
    )
    try:
        annotate_task(client_of(sandbox, sandbox.url), task_id, Boxes())
        assert len(sandbox.faults.log()) > 5
    finally:
        sandbox.faults.clear()
    assert frames_annotated(client, task_id) == list(range(6))


# --- the form of a chunk ---


def zipped(images=2, comment=b"", extra=b""):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i in range(images):
            entry = zipfile.ZipInfo(f"{i:06}.png")
            entry.extra = extra
            archive.writestr(entry, b"x" * 300)
        archive.comment = comment
    return buffer.getvalue()


def box(kind, content=b""):
    return struct.pack(">L4s", 8 + len(content), kind) + content


MP4 = box(b"ftyp", b"isom") + box(b"mdat", bytes(100)) + box(b"moov", bytes(50))
LARGE_BOX = box(b"ftyp") + box(b"moov") + struct.pack(">L4sQ", 1, b"mdat", 26) + bytes(10)


@pytest.mark.parametrize(
    ("kind", "data", "problem"),
    [
        ("imageset", zipped(), None),
        ("imageset", zipped(0), None),  # whole, though of too few images: that is no matter of the network
        ("imageset", zipped(comment=b"PK" * 1000), None),
        ("imageset", zipped()[:-1], "before its directory"),
        ("imageset", zipped()[:200], "before its directory"),
        ("imageset", zipped()[:100] + zipped()[200:], "directory lies elsewhere"),
        ("imageset", b"", "it is empty"),
        ("imageset", b"{}", r"not a zip file: it begins with b'\{\}'"),
        ("imageset", zipped(1000, extra=b"ab\x2a\x00" + bytes(42)), "directory has 9|directory has 1"),
        ("video", MP4, None),
        ("video", LARGE_BOX, None),
        ("video", MP4[:-20] + struct.pack(">L4s", 0, b"free"), "cut short"),
        ("video", box(b"ftyp") + struct.pack(">L4s", 0, b"moov") + bytes(9), None),
        ("video", MP4[:-1], "cut short: it has 177 of 178 bytes"),
        ("video", MP4[:5], "not an mp4"),
        ("video", MP4[:120], "without an index"),
        ("video", MP4[:123], "cut short after 123 bytes"),
        ("video", box(b"ftyp") + struct.pack(">L4s", 7, b"moov"), "a box of 7 bytes"),
        ("video", box(b"ftyp") + box(b"free") * 10_000, "more than 10000 boxes"),
        ("video", b"<html><title>Sign in</title>", "not an mp4"),
    ],
)
def test_chunk_is_recognized_by_its_signature(kind, data, problem):
    import re

    found = problem_of_chunk(io.BytesIO(data), kind, 2)
    assert found is None if problem is None else re.search(problem, found), found
