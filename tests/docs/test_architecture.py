"""docs/architecture.md: its drawing is how a run goes, and the modules of its table are there."""

import re
from pathlib import Path

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.runs.pipeline import ThreadSubmitter

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FOLDERS = ("src", "tasks", "flows", "deployments", "functions")


class OneBox:
    spec = DetectionFunctionSpec(labels=[label_spec("car", id=0)])

    def detect(self, context, image):
        return [rectangle(0, [0, 0, 9, 9])]


def test_the_drawing_shows_the_stages_in_the_order_in_which_they_run(client, make_task, monkeypatch):
    stages = []
    submit = ThreadSubmitter.submit

    def noted(self, stage, run, *args):
        stages.append(stage)
        return submit(self, stage, run, *args)

    monkeypatch.setattr(ThreadSubmitter, "submit", noted)
    assert annotate_task(client, make_task(2, chunk_size=2), OneBox()).added == 2

    [drawing] = re.findall(r"^```drawing\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    above, below = drawing.split("in flight:")
    shown = re.findall(r"\b[a-z]+_[a-z]+\b", above + below.strip().splitlines()[0])
    assert shown == stages


def test_the_modules_of_the_table_are_there():
    rows = re.findall(r"^\| (`.*?) \| [^|]+ \|$", PAGE, re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`([\w/]+(?:\.py|/))`", row)]
    assert len(names) > 60
    known = [path.as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    missing = [name for name in names if not any(path.endswith("/" + name.rstrip("/")) for path in known)]
    assert not missing
