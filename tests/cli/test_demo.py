"""The demo, as its command."""

import re
import subprocess
import sys


def test_demo_detects_a_person_tracks_a_motorcycle_and_draws_both(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "prefect_cvat", "demo", "--report", "page.html"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "page.html") in done.stdout
    assert done.stderr == ""
    page = (tmp_path / "page.html").read_text()
    found = re.findall(r'<figure>(?:.*?)aria-label="([^"]*)"(.*?)</figure>', page, re.DOTALL)
    figures = dict(found[:8])
    assert len(figures) == 8
    assert re.search(r">person 0\.\d\d<", figures["astronaut.png"])
    assert re.search(r">motorcycle 0\.\d\d<", figures["motorcycle_left.png"])
    clip = [drawn for name, drawn in found[8:] if name == "pan.mp4"]
    assert len(clip) == 8
    assert all(">motorcycle #1<" in drawn for drawn in clip)
    assert not re.search(r'(?:src|href)="(?!data:)', page)
