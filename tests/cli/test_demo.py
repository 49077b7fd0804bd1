"""The demo, as its command."""

import re
import signal
import subprocess
import sys

import requests

from polling import until
from review_pages import captions_of, frames_of


def call_when_listed(url, function, **arguments):
    def request(method, path, **options):
        return requests.request(
            method, f"{url}/api/lambda/functions{path}", auth=("admin", "admin"), timeout=60, **options
        )

    until(lambda: function in {each["id"] for each in request("GET", "").json()}, seconds=60)
    body = {"task": 1, "frame": 0, "pos_points": [], "neg_points": [], **arguments}
    return request("POST", f"/{function}", json=body).json()


def test_demo_detects_a_person_tracks_a_motorcycle_and_draws_both(tmp_path):
    """It keeps its sandbox, with functions for single objects, until Ctrl-C."""
    command = [sys.executable, "-m", "prefect_cvat", "demo", "--page", "page.html", "--serve"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "AI tools" in line:
                break
        else:
            raise AssertionError(process.stderr.read())
        assert any(str(tmp_path / "page.html") in line for line in lines)
        url = re.search(r"http://[^/]+", line)[0]
        mask = call_when_listed(url, "grabcut_interaction", obj_bbox=[[150, 20], [350, 300]])["shapes"][0]
        assert mask["type"] == "mask"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (0, "")
    page = tmp_path / "page.html"
    names = [name for _, name, _ in frames_of(page)]
    drawn = list(zip(names, captions_of(page), strict=True))
    photographs, clip = dict(drawn[:8]), drawn[8:]
    assert len(photographs) == 8
    assert any(caption.startswith("machine person 0.") for caption in photographs["astronaut.png"])
    assert any(caption.startswith("machine motorcycle 0.") for caption in photographs["motorcycle_left.png"])
    assert [name for name, _ in clip] == ["pan.mp4"] * 8
    assert all(any(caption.endswith("#1") for caption in captions) for _, captions in clip)
    assert not re.search(r'src="(?!data:)', page.read_text())
