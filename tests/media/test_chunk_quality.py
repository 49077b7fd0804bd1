"""Compressed and original chunks: which are used, and what they need."""

import sys
from types import SimpleNamespace

import pytest

from clips import SPEC, clip, numbers_found, reader
from prefect_cvat import annotate_task
from prefect_cvat.exceptions import UnsupportedTaskError
from served_chunks import chunk_of, with_chunks

av = pytest.importorskip("av", reason="PyAV, which videos need, is not installed")


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
