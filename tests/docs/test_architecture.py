"""docs/architecture.md: the drawing of the stages and the picture of the packages are up to date."""

import importlib.util
import re
from pathlib import Path

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "architecture.md").read_text(encoding="utf-8")


class OneBox:
    spec = DetectionFunctionSpec(labels=[label_spec("car", id=0)])

    def detect(self, context, image):
        return [rectangle(0, [0, 0, 9, 9])]


def test_diagram_shows_the_stages_in_order(client, make_task, monkeypatch):
    stages = []
    submit = ThreadSubmitter.submit

    def recording_submit(self, stage, run, *args):
        stages.append(stage)
        return submit(self, stage, run, *args)

    monkeypatch.setattr(ThreadSubmitter, "submit", recording_submit)
    assert annotate_task(client, make_task(2, chunk_size=2), OneBox()).added == 2

    [drawing] = re.findall(r"^```drawing\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    above, below = drawing.split("in flight:")
    shown = re.findall(r"\b[a-z]+_[a-z]+\b", above + below.strip().splitlines()[0])
    assert shown == stages


def test_package_diagram_matches_its_script():
    script = importlib.util.spec_from_file_location("package_layers", DOCS / "package_layers.py")
    package_layers = importlib.util.module_from_spec(script)
    script.loader.exec_module(package_layers)
    assert package_layers.PICTURE.read_text(encoding="utf-8") == package_layers.draw(), (
        "run: python docs/package_layers.py"
    )
    assert "(images/packages.svg)" in PAGE
