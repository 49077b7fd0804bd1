"""What is learned belongs to the functions that processed a frame, and to their versions."""

from corrected_tasks import Boxes, OtherBoxes, People
from prefect_cvat import annotate_task, learn_task, undo_run
from prefect_cvat.inference.provenance import Provenance
from prefect_cvat.review.evidence import Evidence
from prefect_cvat.review.learned import read_learned


class Third(Boxes):
    """Another function."""


def test_objects_are_missed_only_by_functions_that_have_processed_the_frame(client, make_task):
    people = People(client, make_task(6))
    annotate_task(client, people.task_id, Boxes(), frames=[0, 1], use_cache=False)
    annotate_task(client, people.task_id, OtherBoxes(), frames=[2, 3, 4], use_cache=False)
    undone = annotate_task(client, people.task_id, Third(), use_cache=False)
    undo_run(client, undone.run)
    people.draw(0, [40, 30, 60, 45])
    people.draw(3, [40, 30, 60, 45])
    people.draw(3, [40, 10, 60, 25])
    found = learn_task(client, people.task_id, looked_at=range(6)).functions
    assert {name: (each.frames, each.missed) for name, each in found.items()} == {
        "Boxes": (2, 1), "OtherBoxes": (3, 2),
    }  # fmt: skip


def test_versions_within_a_task_are_learned_apart(client, annotated):
    people = annotated(4, options={"frames": [0, 1]})
    annotate_task(client, people.task_id, Boxes(version="2"), frames=[2, 3], use_cache=False)
    for frame in (0, 1):
        people.delete(people.shapes(frame)[0])
    learn_task(client, people.task_id, looked_at=range(4))
    kept = read_learned(client.url, None, people.task_id).evidence["Boxes"][people.task_id]
    shapes = [(each.version, each.frames, Evidence(each.shapes).right) for each in kept]
    assert shapes == [("1", 2, 2), ("2", 2, 4)]


def test_label_map_stays_while_it_is_used(client, annotated):
    people = annotated(4)
    for frame in range(4):
        for shape in people.shapes(frame):
            people.relabel(shape, "person")
    options = {"use_cache": False, "learned": True, "existing": "clear"}
    for _ in range(2):
        assert learn_task(client, people.task_id, looked_at=range(4)).functions["Boxes"].label_map == {
            "car": "person"
        }
        assert annotate_task(client, people.task_id, Boxes(), **options).labels == {"person": 8}
    for frame in range(4):
        for shape in people.shapes(frame):
            people.relabel(shape, "car")
    assert learn_task(client, people.task_id).functions["Boxes"].label_map == {}


def test_label_map_and_thresholds_are_not_used_by_another_version(client, annotated):
    people = annotated(4)
    for frame in range(4):
        for shape in people.shapes(frame):
            people.relabel(shape, "person")
    learn_task(client, people.task_id)
    report = annotate_task(
        client, people.task_id, Boxes(version="2"), use_cache=False, learned=True, existing="clear"
    )
    assert report.labels == {"car": 8}
    assert report.learned.endswith("it was another version, or other parameters or prompts, of the function")


def test_parameters_and_prompts_belong_to_the_version():
    header = Provenance(function="f", function_version="1", prompts={"person": "person"})
    other = header.model_copy(update={"prompts": {"person": "helmet"}})
    assert header.version == '1, prompts {"person":"person"}' != other.version
    assert header.model_copy(update={"function_parameters": {"model": "str:large"}}).version != header.version
    assert Provenance(function="f").version is None


def test_version_is_independent_of_how_the_same_is_given():
    def version(parameters, prompts):
        return Provenance(function="f", function_parameters=parameters, prompts=prompts).version

    given = version({"a": "int:1", "b": "int:2"}, {"cat": "a cat, a kitten", "dog": "dog"})
    assert given == version({"b": "int:2", "a": "int:1"}, {"dog": ["dog"], "cat": ["a cat", "a kitten"]})
    assert given == version({"a": "int:1", "b": "int:2", "device": "str:cpu", "batch_size": "int:8"}, {
        "cat": "a cat, a kitten", "dog": "dog",
    })  # fmt: skip
    members = {"x.device": "str:cpu", "x.batch_size": "int:8", "x.cache_dir": "str:/c", "x.token": "str:t"}
    assert given == version({"a": "int:1", "b": "int:2", **members}, {"cat": "a cat, a kitten", "dog": "dog"})
    assert given != version({"a": "int:1", "b": "int:3"}, {"cat": "a cat, a kitten", "dog": "dog"})
    assert given != version({"a": "int:1", "b": "int:2"}, {"cat": "a cat", "dog": "dog"})
