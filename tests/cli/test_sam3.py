"""SAM 3 with random weights on the command line: words, exemplars, tracks."""

import json

import pytest

from clips import clip
from command_line import run_command_text as run
from pictures import picture
from prefect_cvat.auto_annotation import label_spec
from sam3_models import write_tiny_sam3

pytest.importorskip("transformers", minversion="5")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam3")
    write_tiny_sam3(folder)
    return f"model=str:{folder}"


@pytest.fixture
def task_id(client):
    labels = [
        label_spec("trafficLight", None, type="rectangle"),
        label_spec("road", None, type="polygon"),
        label_spec("person", None),
        label_spec("weather", None, type="tag"),
    ]
    task = client.create_task("streets", labels)
    client.upload_images(task.id, {f"{i:04}.png": picture(64, 48, seed=i) for i in range(3)}, chunk_size=2)
    return task.id


def types_by_label(client, task_id):
    names = {label.id: label.name for label in client.labels(task_id)}
    found = {}
    for shape in client.task_annotations(task_id).shapes:
        assert 0 < shape["score"] <= 1
        found.setdefault(names[shape["label_id"]], set()).add(shape["type"])
    return found


def test_labels_are_found_by_their_names_as_the_shapes_of_their_types(server, client, task_id, weights):
    command = (*server, "annotate", task_id, "--function", "sam3_detection", "-p", weights)
    done = run(*command, "--conf-threshold", 0.2, "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    types = types_by_label(client, task_id)
    assert types == {"trafficLight": {"rectangle"}, "road": {"polygon"}, "person": {"mask"}}
    report = json.loads(done.stdout)
    assert report["provenance"]["labels"] == {name: name for name in types}
    again = run(*command, "--conf-threshold", 0.2, "--device", "cpu", "--json")
    report = json.loads(again.stdout)
    assert (report["added"], report["frames_from_cache"]) == (0, 3)


def test_prompts_and_exemplars_change_what_is_found(server, client, task_id, weights):
    labels = {label.name: label.id for label in client.labels(task_id)}
    [job] = client.jobs(task_id)
    drawn = {"type": "rectangle", "label_id": labels["trafficLight"], "points": [10, 10, 30, 40], "frame": 1}
    client.create_job_annotations(job.id, {"shapes": [drawn | {"source": "manual"}]})
    prompts = json.dumps({"trafficLight": "a light, a lamp", "road": None, "person": None})
    command = (*server, "annotate", task_id, "--function", "sam3_detection", "-p", weights, "--device", "cpu")
    command = (*command, "--prompts", prompts, "--conf-threshold", 0.2, "--json", "--dry-run")
    trials = []
    for exemplars in ([], ["--exemplars", "manual"]):
        done = run(*command, *exemplars)
        assert done.returncode == 0, done.stderr
        trials.append(json.loads(done.stdout)["trial"]["labels"])
        assert trials[-1].keys() == {"trafficLight"}
    assert trials[0] != trials[1]


def test_refusals_are_one_line(server, task_id, weights):
    command = (*server, "annotate", task_id, "--function", "sam3_detection", "--device", "cpu")
    too_long = json.dumps({"person": "word " * 40})
    for arguments, message in (
        (["-p", weights, "--prompts", too_long], "shorten it with --prompts"),
        (["-p", weights, "--prompts", '{"persn": "man"}'], "did you mean 'person'?"),
        (
            ["-p", weights, "--exemplars", "manual", "--existing", "clear"],
            "--existing clear removes them; use --existing replace_auto",
        ),
        ([], "hf download facebook/sam3"),
    ):
        done = run(*command, *arguments, HF_HUB_OFFLINE="1")
        assert done.returncode == 1, done.stderr
        assert sum(message in line for line in done.stderr.splitlines()) == 1, done.stderr
        assert "Traceback" not in done.stderr
    done = run(*server, "annotate", task_id, "--function", "nanodet_detection", "--exemplars", "manual")
    assert done.returncode == 1
    assert "function 'nanodet_detection' takes no --exemplars" in done.stderr


def test_where_no_shapes_are_shown_a_line_says_so_or_the_option_is_missing(
    server, task_id, weights, tmp_path
):
    function = ("--function", "sam3_detection", "-p", weights, "--device", "cpu", "--exemplars", "manual")
    page = tmp_path / "page.html"
    done = run(*server, "preview", "--task", task_id, "--frames", 1, *function, "-o", page)
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stderr.splitlines() if "no shapes are shown" in line]
    assert line.endswith("such as exemplars: it works by words alone")
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture(64, 48))
    done = run("preview", photo, *function, "-o", page)
    assert done.returncode == 2
    assert "--exemplars goes with --task" in done.stderr
    for command in (["prompts", task_id], ["export", task_id, "--to", tmp_path / "data"]):
        done = run(*server, *command, *function)
        assert done.returncode == 2
        assert "No such option" in done.stderr
        assert "--exemplars" in done.stderr


def test_words_become_tracks_and_a_drawn_shape_is_followed(server, client, video_task, weights):
    task_id = video_task(clip(range(8)), segment_size=5)
    command = (*server, "track", task_id, "-p", weights, "--device", "cpu", "--json")
    done = run(*command, "--function", "sam3_word_tracking", "--conf-threshold", 0.2, "--min-length", 2)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] == 8
    assert report["tracks"]["car"] >= 1
    tracks = client.task_annotations(task_id).tracks
    assert {track["source"] for track in tracks} == {"auto"}
    assert {shape["type"] for track in tracks for shape in track["shapes"]} == {"mask"}

    [car] = client.labels(task_id)
    box = {
        "type": "rectangle",
        "label_id": car.id,
        "frame": 0,
        "points": [10, 10, 40, 40],
        "source": "manual",
    }
    client.create_job_annotations(client.jobs(task_id)[0].id, {"shapes": [box]})
    done = run(*command, "--function", "sam3_tracking")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["source_shapes"], report["tracks"]) == (1, {"car": 1})

    done = run(*server, "annotate", task_id, "--function", "sam3_word_tracking", "-p", weights)
    assert done.returncode == 1
    assert "finds and follows the objects of a video: make tracks with it" in done.stderr
