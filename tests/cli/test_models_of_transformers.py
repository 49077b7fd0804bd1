"""Models of transformers on the command line: real classes with tiny random weights, in folders."""

import json

import pytest

from coloured_tasks import BLUE, RED, coloured_picture, create_coloured_task
from command_line import run_command_text as run
from prefect_cvat.auto_annotation import keypoint_spec, skeleton_label_spec

pytest.importorskip("transformers")

from tiny_detectors import model_and_processor
from tiny_pose_models import KEYPOINTS, vitpose
from tiny_segmenters import oneformer
from tiny_word_models import WORD_MODELS, owlv2

LABELS = ("traffic_light", "stop-sign", "Ampel (rot)")


@pytest.fixture
def saved(tmp_path):
    """Save the model and the processor of a family; return its folder, as parameters of its function."""

    def save(family):
        folder = tmp_path / family.__name__
        for part in model_and_processor(family):
            part.save_pretrained(folder)
        return ["-p", f"model=str:{folder}", "-p", "device=str:cpu"]

    return save


def shapes_of(client, task_id):
    names = {label.id: label.name for label in client.labels(task_id)}
    return [shape | {"label": names[shape["label_id"]]} for shape in client.task_annotations(task_id).shapes]


@pytest.mark.parametrize("family", WORD_MODELS, ids=lambda family: family.__name__)
def test_a_task_is_annotated_by_the_names_of_its_labels(server, client, saved, family):
    task_id = create_coloured_task(client, *LABELS)
    command = [*server, "annotate", task_id, "--function", "open_vocabulary_detection", *saved(family)]
    done = run(*command, "--conf-threshold", "0.0", "--json")
    assert done.returncode == 0, done.stderr
    shapes = shapes_of(client, task_id)
    assert {shape["frame"] for shape in shapes} == {0, 1, 2, 3}
    assert {shape["label"] for shape in shapes} <= set(LABELS)
    assert all(shape["type"] == "rectangle" and 0 <= shape["score"] <= 1 for shape in shapes)
    assert json.loads(done.stdout)["labels"].keys() == {shape["label"] for shape in shapes}


def test_words_are_given_and_labels_left_out(server, client, saved):
    task_id = create_coloured_task(client, *LABELS)
    prompts = {"traffic_light": "a light, a lamp", "stop-sign": None, "Ampel (rot)": None}
    command = [*server, "annotate", task_id, "--function", "open_vocabulary_detection", *saved(owlv2)]
    done = run(*command, "--conf-threshold", "0.0", "--prompts", json.dumps(prompts))
    assert done.returncode == 0, done.stderr
    assert {shape["label"] for shape in shapes_of(client, task_id)} == {"traffic_light"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--prompts", '{"stop-sign": "the round red sign at the end of the road"}'],
            "the model reads at most 16 tokens for a label, fewer than it needs for 'the round red sign at the end"
            " of the road'; give shorter words with --prompts, or null to leave a label out",
        ),
        (
            ["-p", "model=str:google/owlv2-base-patch16-ensemble", "-p", "local_files_only=bool:true"],
            "download it where there is a network: hf download google/owlv2-base-patch16-ensemble",
        ),
    ],
    ids=["too long", "no network"],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(server, client, saved, options, message):
    task_id = create_coloured_task(client, *LABELS)
    done = run(
        *server, "annotate", task_id, "--function", "open_vocabulary_detection", *saved(owlv2), *options
    )
    assert done.returncode == 1
    assert sum(message in line for line in done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert not shapes_of(client, task_id)


def test_masks_of_a_model_that_is_told_its_task(server, client, saved):
    task_id = create_coloured_task(client, "cat", "person", "car", "dog")
    command = [*server, "annotate", task_id, "--function", "transformers_detection", *saved(oneformer)]
    done = run(*command, "--conf-threshold", "0.0")
    assert done.returncode == 0, done.stderr
    assert {shape["type"] for shape in shapes_of(client, task_id)} == {"mask"}


def test_skeletons_in_the_boxes_of_words(server, client, saved):
    points = [keypoint_spec(name, None) for name in (*KEYPOINTS, "tail")]
    task = client.create_task("skeletons", [skeleton_label_spec("walking person", None, points)])
    pictures = {f"{number}.png": coloured_picture(red=RED, blue=BLUE) for number in range(2)}
    client.upload_images(task.id, pictures, chunk_size=2)
    options = {"model": saved(owlv2)[1].removeprefix("model=str:"), "score_threshold": 0.0}
    detector = [
        "-p",
        "detector=str:open_vocabulary_detection",
        "-p",
        f"detector_options=json:{json.dumps(options)}",
    ]
    done = run(*server, "annotate", task.id, "--function", "transformers_pose", *saved(vitpose), *detector)
    assert done.returncode == 0, done.stderr
    shapes = shapes_of(client, task.id)
    assert {shape["frame"] for shape in shapes} == {0, 1}
    assert {(shape["type"], len(shape["elements"])) for shape in shapes} == {("skeleton", 6)}
