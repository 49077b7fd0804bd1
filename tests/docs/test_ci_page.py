"""docs/ci.md: the jobs of its two examples do what the page says, against a sandbox in place of cvat.example.com."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from command_line import run_command_text
from pictures import picture
from prefect_cvat.auto_annotation import label_spec

PAGE = (Path(__file__).parents[2] / "docs" / "ci.md").read_text(encoding="utf-8")
GITHUB, GITLAB, _ = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
[DETECTOR] = re.findall(r'```python title="detector.py"\n(.*?)```', PAGE, re.DOTALL)


def _jobs():
    for name, job in GITHUB["jobs"].items():
        [step] = [step for step in job["steps"] if step.get("run", "").startswith("prefect-cvat")]
        yield pytest.param(step["run"], step["env"]["CVAT_ACCESS_TOKEN"], id=f"github-{name}")
    for name in GITLAB["stages"]:
        [command] = GITLAB[name]["script"]
        yield pytest.param(command, GITLAB[name]["variables"]["CVAT_ACCESS_TOKEN"], id=f"gitlab-{name}")


@pytest.fixture
def task_id(client):
    """A task of two pictures, with a cup that somebody has drawn."""
    task = client.create_task("cups", [label_spec("cup", None)])
    client.upload_images(task.id, {f"{i}.png": picture(seed=i) for i in range(2)})
    [job], [label] = client.jobs(task.id), client.labels(task.id)
    box = {"type": "rectangle", "frame": 0, "label_id": label.id, "points": [8, 8, 22, 22]}
    client.create_job_annotations(job.id, {"shapes": [box]})
    return task.id


@pytest.mark.parametrize(("command", "token"), list(_jobs()))
def test_job_runs_with_its_token(command, token, client, sandbox, task_id, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "detector.py").write_text(DETECTOR)
    instead = {"https://cvat.example.com": sandbox.url, "42": str(task_id), "43": str(task_id)}
    words = [instead.get(word, word) for word in shlex.split(command)[1:]]
    body = {"name": command, "read_only": "READ" in token}
    key = client.json("POST", "/api/auth/access_tokens", body=body)["value"]

    done = run_command_text(*words, CVAT_ACCESS_TOKEN=key)

    assert done.returncode == 0, done.stderr
    sources = [shape["source"] for shape in client.task_annotations(task_id).shapes]
    assert sources.count("manual") == 1
    assert ("auto" in sources) == ("annotate" in words)
    assert (tmp_path / "evaluation.html").exists() == ("evaluate" in words)
