"""Output that breaks the rules is refused by both libraries, and nothing of it gets onto the server.

What is written with the SDK is run by both; what is written with ours, by us.
"""

from collections.abc import Callable
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest

from compatibility.libraries import (
    BY_SDK,
    BY_US,
    OURS,
    SDK_BY_US,
    Library,
    Pairing,
    a_function,
    assert_says_what_the_sdk_says,
)
from pictures import picture

CAR, BLOB, AREA, SCENE, BODY, THING = range(11, 17)
HEAD, HAND = 21, 22
DOORS, COLOUR, PARKED, PLATE, SIDE, HAT = range(31, 37)

MASK = [0, 4, 10, 10, 11, 11]
POLYGON = [1, 1, 20, 1, 20, 20]


def labels(lib: Library, *, with_ids: bool = True) -> list[Any]:
    cvataa = lib.cvataa

    def number(of: int) -> int | None:
        return of if with_ids else None

    return [
        cvataa.label_spec(
            "car",
            number(CAR),
            type="rectangle",
            attributes=[
                cvataa.number_attribute_spec("doors", number(DOORS), ["0", "6", "2"]),
                cvataa.select_attribute_spec("colour", number(COLOUR), ["red", "blue"]),
                cvataa.checkbox_attribute_spec("parked", number(PARKED)),
                cvataa.text_attribute_spec("plate", number(PLATE)),
                cvataa.radio_attribute_spec("side", number(SIDE), ["l", "r"]),
            ],
        ),
        cvataa.label_spec("blob", number(BLOB), type="mask"),
        cvataa.label_spec("area", number(AREA), type="polygon"),
        cvataa.label_spec("scene", number(SCENE), type="tag"),
        cvataa.skeleton_label_spec(
            "body",
            number(BODY),
            [
                cvataa.keypoint_spec(
                    "head",
                    number(HEAD),
                    attributes=[cvataa.checkbox_attribute_spec("hat", number(HAT))],
                ),
                cvataa.keypoint_spec("hand", number(HAND)),
            ],
        ),
        cvataa.label_spec("thing", number(THING), type="any"),
    ]


def spec(lib: Library) -> Any:
    return lib.cvataa.DetectionFunctionSpec(labels=labels(lib))


def good(lib: Library) -> list[Any]:
    """One of everything."""
    cvataa = lib.cvataa
    values = {DOORS: 4, COLOUR: "red", PARKED: True, PLATE: "X 1", SIDE: "l"}
    return [
        car(lib, attributes=lib.attributes.attribute_vals_from_dict(values)),
        cvataa.mask(BLOB, MASK),
        cvataa.polygon(AREA, POLYGON),
        cvataa.tag(SCENE),
        body(lib),
        cvataa.mask(THING, MASK),
        cvataa.tag(THING),
    ]


def car(lib: Library, **fields: Any) -> Any:
    return lib.cvataa.rectangle(CAR, [1, 2, 30, 40], **fields)


def body(lib: Library, *more: Any, head: Any = None, hand: bool = True, **fields: Any) -> Any:
    elements = [head or lib.cvataa.keypoint(HEAD, [5, 6])]
    if hand:
        elements.append(lib.cvataa.keypoint(HAND, [7, 8]))
    return lib.cvataa.skeleton(BODY, [*elements, *more], **fields)


def head(lib: Library, **fields: Any) -> Any:
    return lib.cvataa.keypoint(HEAD, [5, 6], **fields)


def element(lib: Library, **fields: Any) -> Any:
    defaults = {"type": "points", "label_id": HEAD, "frame": 0, "points": [5, 6]}
    return lib.models.SubLabeledShapeRequest(**(defaults | fields))


def value(lib: Library, spec_id: int, text: str) -> Any:
    return lib.models.AttributeValRequest(spec_id=spec_id, value=text)


@pytest.fixture(scope="module")
def task_id(new_task) -> int:
    return new_task(labels(OURS, with_ids=False), {"0.png": picture()})


@pytest.fixture
def run(annotate, read, task_id) -> Callable[..., None]:
    """Run what returns this; the task is empty before and, if that fails, afterwards."""

    def run(pairing: Pairing, output: Callable[[Library], Any], **options: Any) -> None:
        function = a_function(spec(pairing.written), lambda context, image: output(pairing.written))
        assert read(task_id) == []
        try:
            annotate(pairing.run, task_id, function, **options)
        except Exception:
            assert read(task_id) == []
            raise

    return run


@pytest.fixture
def emptied(our_client, task_id) -> Any:
    yield
    [job] = our_client.jobs(task_id)
    everything = our_client.job_annotations(job.id)
    our_client.delete_job_annotations(job.id, {"tags": everything.tags, "shapes": everything.shapes})


@pytest.mark.usefixtures("emptied")
@pytest.mark.parametrize("pairing", [BY_SDK, SDK_BY_US, BY_US], ids=str)
def test_good_output_is_taken(run, read, task_id, pairing):
    run(pairing, good)
    found = read(task_id)
    assert [item["label"] for item in found if item["kind"] == "tag"] == ["scene", "thing"]
    assert sorted(item["label"] for item in found if item["kind"] == "shape") == [
        *("area", "blob", "body", "car", "thing")
    ]


BAD_OUTPUT: dict[str, tuple[Callable[[Library], Any], str]] = {
    "shape with id": (lambda lib: car(lib, id=5), "shape with preset id"),
    "shape with source": (lambda lib: car(lib, source="manual"), "shape with preset source"),
    "shape on another frame": (
        lambda lib: lib.models.LabeledShapeRequest(
            type="rectangle", label_id=CAR, frame=1, points=[1, 2, 3, 4]
        ),
        r"shape with unexpected frame number \(1\)",
    ),
    "tag with id": (lambda lib: lib.cvataa.tag(SCENE, id=5), "tag with preset id"),
    "tag with source": (lambda lib: lib.cvataa.tag(SCENE, source="auto"), "tag with preset source"),
    "tag on another frame": (
        lambda lib: lib.models.LabeledImageRequest(label_id=SCENE, frame=2),
        r"tag with unexpected frame number \(2\)",
    ),
    "shape of an unknown label": (
        lambda lib: lib.cvataa.rectangle(99, [1, 2, 3, 4]),
        r"shape with unknown label ID \(99\)",
    ),
    "tag of an unknown label": (lambda lib: lib.cvataa.tag(99), r"tag with unknown label ID \(99\)"),
    "wrong type for the label": (
        lambda lib: lib.cvataa.polygon(CAR, POLYGON),
        r"shape of type 'polygon' \(expected 'rectangle'\)",
    ),
    "mask for a polygon": (
        lambda lib: lib.cvataa.mask(AREA, MASK),
        r"shape of type 'mask' \(expected 'polygon'\)",
    ),
    "shape for a tag": (
        lambda lib: lib.cvataa.rectangle(SCENE, [1, 2, 3, 4]),
        r"shape of type 'rectangle' \(expected 'tag'\)",
    ),
    "rectangle for a skeleton": (
        lambda lib: lib.cvataa.rectangle(BODY, [1, 2, 3, 4]),
        r"shape of type 'rectangle' \(expected 'skeleton'\)",
    ),
    "tag for a rectangle": (lambda lib: lib.cvataa.tag(CAR), "tag .*'rectangle'"),
    "elements of a rectangle": (
        lambda lib: car(lib, elements=[head(lib)]),
        "non-skeleton shape with elements",
    ),
    "element with id": (lambda lib: body(lib, head=head(lib, id=3)), "element with preset id"),
    "element with source": (
        lambda lib: body(lib, head=head(lib, source="auto")),
        "element with preset source",
    ),
    "element on another frame": (
        lambda lib: body(lib, head=element(lib, frame=1)),
        r"element with unexpected frame number \(1\)",
    ),
    "element that is a rectangle": (
        lambda lib: body(lib, head=element(lib, type="rectangle", points=[1, 2, 3, 4])),
        r"element type other than 'points' \(rectangle\)",
    ),
    "element of an unknown sublabel": (
        lambda lib: body(lib, head=element(lib, label_id=99)),
        r"unknown sublabel ID \(99\)",
    ),
    "keypoint twice": (
        lambda lib: body(lib, head(lib)),
        "skeleton with multiple elements with same sublabel",
    ),
    "keypoint missing": (
        lambda lib: body(lib, hand=False),
        r"skeleton with fewer elements than .*\(1 vs 2\)",
    ),
    "no keypoint": (
        lambda lib: lib.cvataa.skeleton(BODY, []),
        r"skeleton with fewer elements than expected \(0 vs 2\)",
    ),
    "attribute of a shape unknown": (
        lambda lib: car(lib, attributes=[value(lib, 99, "4")]),
        r"attribute with unknown ID \(99\)",
    ),
    "attribute of another label": (
        lambda lib: lib.cvataa.polygon(AREA, POLYGON, attributes=[value(lib, DOORS, "4")]),
        r"attribute with unknown ID \(31\)",
    ),
    "attribute of a tag unknown": (
        lambda lib: lib.cvataa.tag(SCENE, attributes=[value(lib, 99, "4")]),
        r"attribute with unknown ID \(99\)",
    ),
    "attribute of an element unknown": (
        lambda lib: body(lib, head=head(lib, attributes=[value(lib, DOORS, "4")])),
        r"attribute with unknown ID \(31\)",
    ),
    "attribute twice": (
        lambda lib: car(lib, attributes=[value(lib, DOORS, "4"), value(lib, DOORS, "2")]),
        "multiple attributes with same ID",
    ),
    "attribute of an element twice": (
        lambda lib: body(lib, head=head(lib, attributes=[value(lib, HAT, "true"), value(lib, HAT, "true")])),
        "multiple attributes with same ID",
    ),
    "number too large": (
        lambda lib: car(lib, attributes=[value(lib, DOORS, "8")]),
        r"attribute value \('8'\) that is unsuitable for its attribute \(31\)",
    ),
    "number between the steps": (
        lambda lib: car(lib, attributes=[value(lib, DOORS, "3")]),
        r"attribute value \('3'\) that is unsuitable",
    ),
    "number with a fraction": (
        lambda lib: car(lib, attributes=[value(lib, DOORS, "2.0")]),
        r"attribute value \('2.0'\) that is unsuitable",
    ),
    "selected what is not there": (
        lambda lib: car(lib, attributes=[value(lib, COLOUR, "green")]),
        r"attribute value \('green'\) that is unsuitable for its attribute \(32\)",
    ),
    "radio button that is not there": (
        lambda lib: car(lib, attributes=[value(lib, SIDE, "")]),
        r"attribute value \(''\) that is unsuitable",
    ),
    "checkbox in Python's words": (
        lambda lib: car(lib, attributes=[value(lib, PARKED, "True")]),
        r"attribute value \('True'\) that is unsuitable",
    ),
    "checkbox of an element": (
        lambda lib: body(lib, head=head(lib, attributes=[value(lib, HAT, "maybe")])),
        r"attribute value \('maybe'\) that is unsuitable for its attribute \(36\)",
    ),
    "a dict": (lambda lib: {"label_id": CAR}, "object of type 'dict' .*'LabeledImageRequest' or"),
    "a keypoint alone": (head, "object of type 'SubLabeledShapeRequest' .*'LabeledImageRequest' or"),
}


@pytest.mark.parametrize("pairing", [BY_SDK, SDK_BY_US, BY_US], ids=str)
@pytest.mark.parametrize(("bad", "message"), BAD_OUTPUT.values(), ids=BAD_OUTPUT)
def test_bad_output_is_refused(run, pairing, bad, message):
    with pytest.raises(pairing.run.error, match=f"function output .*{message}"):
        run(pairing, lambda lib: [*good(lib), bad(lib)])


CAR_FAULTS: dict[str, Callable[[Library], dict[str, Any]]] = {
    "preset id": lambda lib: {"id": 3},
    "preset source": lambda lib: {"source": "auto"},
    "another frame": lambda lib: {"frame": 1},
    "unknown label": lambda lib: {"label_id": 99},
    "unknown attribute": lambda lib: {"attributes": [value(lib, 99, "4")]},
    "attribute twice": lambda lib: {"attributes": [value(lib, DOORS, "4"), value(lib, DOORS, "2")]},
    "unsuitable value": lambda lib: {"attributes": [value(lib, DOORS, "8")]},
    "another type": lambda lib: {"type": "polygon", "points": POLYGON},
    "elements": lambda lib: {"elements": [head(lib)]},
}
HEAD_FAULTS: dict[str, Callable[[Library], dict[str, Any]]] = {
    "preset id": lambda lib: {"id": 3},
    "preset source": lambda lib: {"source": "auto"},
    "another frame": lambda lib: {"frame": 1},
    "another type": lambda lib: {"type": "rectangle", "points": [1, 2, 3, 4]},
    "unknown sublabel": lambda lib: {"label_id": 99},
    "sublabel twice": lambda lib: {"label_id": HAND},
    "unknown attribute": lambda lib: {"attributes": [value(lib, 99, "4")]},
    "unsuitable value": lambda lib: {"attributes": [value(lib, HAT, "8")]},
}


def two_faults(makers: dict[str, Callable[[Library], dict[str, Any]]]) -> list[Any]:
    """All pairs of faults that one thing can have at a time."""
    return [
        pytest.param(makers[one], makers[other], id=f"{one} and {other}")
        for one, other in combinations(makers, 2)
        if makers[one](OURS).keys().isdisjoint(makers[other](OURS))
    ]


@pytest.fixture
def assert_alike(run) -> Callable[..., None]:
    """Both libraries refuse what this returns, and all that the SDK says is in what we say."""

    def assert_alike(output: Callable[[Library], Any], **options: Any) -> None:
        messages = []
        for pairing in (BY_SDK, SDK_BY_US, BY_US):
            with pytest.raises(pairing.run.error) as error:
                run(pairing, output, **options)
            messages.append(str(error.value))
        sdk, *ours = messages
        for message in ours:
            assert_says_what_the_sdk_says(sdk, message)

    return assert_alike


@pytest.mark.parametrize("bad", [bad for bad, _ in BAD_OUTPUT.values()], ids=BAD_OUTPUT)
def test_what_the_sdk_says_of_output_is_in_what_we_say(assert_alike, bad):
    assert_alike(lambda lib: [bad(lib)])


@pytest.mark.parametrize(("one", "other"), two_faults(CAR_FAULTS))
def test_of_two_faults_of_a_shape_we_tell_the_one_that_the_sdk_tells(assert_alike, one, other):
    good_one = {"type": "rectangle", "label_id": CAR, "frame": 0, "points": [1, 2, 30, 40]}
    assert_alike(lambda lib: [lib.models.LabeledShapeRequest(**(good_one | one(lib) | other(lib)))])


@pytest.mark.parametrize(("one", "other"), two_faults(HEAD_FAULTS))
def test_of_two_faults_of_a_keypoint_we_tell_the_one_that_the_sdk_tells(assert_alike, one, other):
    def output(lib: Library) -> list[Any]:
        hand = lib.cvataa.keypoint(HAND, [7, 8])
        return [lib.cvataa.skeleton(BODY, [hand, element(lib, **(one(lib) | other(lib)))])]

    assert_alike(output)


def test_of_a_mask_where_polygons_were_asked_for_we_tell_what_the_sdk_tells(assert_alike):
    for label in (BLOB, THING):
        assert_alike(lambda lib, of=label: [lib.cvataa.mask(of, MASK)], conv_mask_to_poly=True)


# --- what the SDK does not check, and the server stores ---

NAN, INFINITE = float("nan"), float("inf")

HARMFUL: dict[str, tuple[Callable[[Library], Any], str]] = {
    "runs that do not fill the box": (
        lambda lib: lib.cvataa.mask(BLOB, [0, 3, 10, 10, 11, 11]),
        "run lengths sum up to 3, but whose box has 4 pixels",
    ),
    "runs that overflow the box": (
        lambda lib: lib.cvataa.mask(BLOB, [4, 4, 10, 10, 11, 11]),
        "run lengths sum up to 8, but whose box has 4 pixels",
    ),
    "runs below 0": (lambda lib: lib.cvataa.mask(BLOB, [-1, 5, 10, 10, 11, 11]), "run lengths"),
    "runs with fractions": (lambda lib: lib.cvataa.mask(BLOB, [1.5, 2.5, 10, 10, 11, 11]), "not integers"),
    "box with fractions": (lambda lib: lib.cvataa.mask(BLOB, [0, 4, 10.5, 10, 11.5, 11]), "not integers"),
    "box turned round": (lambda lib: lib.cvataa.mask(BLOB, [0, 4, 11, 10, 10, 11]), "empty box"),
    "rectangle with NaN": (lambda lib: lib.cvataa.rectangle(CAR, [1, NAN, 3, 4]), "not finite"),
    "rectangle with infinity": (lambda lib: lib.cvataa.rectangle(CAR, [1, 2, INFINITE, 4]), "not finite"),
    "opposite infinities": (
        lambda lib: lib.cvataa.rectangle(CAR, [-INFINITE, 2, INFINITE, 4]),
        "not finite",
    ),
    "1e308": (lambda lib: lib.cvataa.rectangle(CAR, [1, 2, 1e308, 4]), "out of range .1e.308"),
    "1e308 twice": (
        lambda lib: lib.cvataa.polygon(AREA, [1, 2, 1e308, 1e308, 4, 5]),
        "out of range .1e.308",
    ),
    "-1e308": (lambda lib: lib.cvataa.rectangle(CAR, [-1e308, 2, 3, 4]), "out of range .-1e.308"),
    "keypoint with NaN": (lambda lib: body(lib, head=lib.cvataa.keypoint(HEAD, [NAN, 2])), "not finite"),
    "keypoint with 1e308": (
        lambda lib: body(lib, head=lib.cvataa.keypoint(HEAD, [1, 1e308])),
        "out of range",
    ),
    "three numbers of a rectangle": (lambda lib: lib.cvataa.rectangle(CAR, [1, 2, 3]), "with 3 numbers"),
    "two points of a polygon": (lambda lib: lib.cvataa.polygon(AREA, [1, 2, 3, 4]), "with 4 numbers"),
    "odd numbers of a polygon": (lambda lib: lib.cvataa.polygon(AREA, [*POLYGON, 1]), "with 7 numbers"),
    "a mask without runs": (lambda lib: lib.cvataa.mask(BLOB, [1, 1, 1, 1]), "with 4 numbers"),
    "points of a skeleton": (lambda lib: body(lib, points=[1.0, 2.0]), "with 2 numbers"),
    "rotation by NaN": (lambda lib: car(lib, rotation=NAN), "rotation nan"),
    "score of NaN": (lambda lib: car(lib, score=NAN), "score nan"),
}


@pytest.mark.parametrize("pairing", [SDK_BY_US, BY_US], ids=str)
@pytest.mark.parametrize(("bad", "message"), HARMFUL.values(), ids=HARMFUL)
def test_what_would_do_harm_is_refused_by_us(run, pairing, bad, message):
    with pytest.raises(OURS.error, match=f"function output .*{message}"):
        run(pairing, lambda lib: [*good(lib), bad(lib)])


OUT_OF_RANGE = {"rotation": 361.0, "score": 1.1}


@pytest.mark.parametrize(
    ("field", "pairing"),
    [
        *(("score", pairing) for pairing in (BY_SDK, SDK_BY_US, BY_US)),
        *(("rotation", pairing) for pairing in (BY_SDK, SDK_BY_US)),  # ours is taken modulo 360
    ],
    ids=str,
)
def test_what_is_out_of_range_is_refused(run, pairing, field):
    """The SDK's models refuse it with an error of their own, which is the function's fault as well."""
    with pytest.raises(pairing.run.error if pairing.run is OURS else ValueError, match=field):
        run(pairing, lambda lib: [*good(lib), car(lib, **{field: OUT_OF_RANGE[field]})])


ATTRIBUTE_MESSAGES = {
    "number": ((DOORS, "8"), r"\(31\): 'doors' takes a whole number from 0 to 6 in steps of 2"),
    "select": ((COLOUR, "green"), r"\(32\): 'colour' takes one of 'red', 'blue'"),
    "radio": ((SIDE, ""), r"\(35\): 'side' takes one of 'l', 'r'"),
    "checkbox": ((PARKED, "True"), r"\(33\): 'parked' takes 'true' or 'false'"),
    "unknown": (
        (99, "x"),
        r"\(99\) on a shape; its label has the attributes 31 \('doors'\), 32 \('colour'\)",
    ),
}


@pytest.mark.parametrize(("given", "message"), ATTRIBUTE_MESSAGES.values(), ids=ATTRIBUTE_MESSAGES)
def test_a_message_about_an_attribute_names_it_and_what_is_allowed(run, given, message):
    with pytest.raises(OURS.error, match=message):
        run(BY_US, lambda lib: [car(lib, attributes=[value(lib, *given)])])


def test_a_message_about_two_values_of_an_attribute_names_it(run):
    twice = [value(OURS, DOORS, "2"), value(OURS, DOORS, "4")]
    with pytest.raises(OURS.error, match=r"same ID \(31, on a shape\): 'doors' takes one value"):
        run(BY_US, lambda lib: [car(lib, attributes=twice)])


def _with(shape: Any, **changes: Any) -> Any:
    for name, item in changes.items():
        getattr(shape, name).append(item)
    return shape


SMUGGLED = {
    "a word among points": lambda lib: _with(lib.cvataa.polygon(AREA, [*POLYGON, 1]), points="x"),
    "a dict among attributes": lambda lib: _with(car(lib, attributes=[]), attributes={"id": DOORS}),
    "a tuple among elements": lambda lib: _with(body(lib), elements=(HEAD, 1, 2)),
}


@pytest.mark.parametrize("pairing", [SDK_BY_US, BY_US], ids=str)
@pytest.mark.parametrize("bad", SMUGGLED.values(), ids=SMUGGLED)
def test_what_is_put_into_lists_afterwards_is_looked_at_too(run, pairing, bad):
    with pytest.raises(OURS.error, match="function output "):
        run(pairing, lambda lib: [*good(lib), bad(lib)])


# --- labels of the function and of the task ---

TYPES = ("any", "rectangle", "polygon", "mask", "tag")


@pytest.fixture(scope="module")
def task_of_type(new_task) -> Callable[[str], int]:
    made: dict[str, int] = {}

    def task_of_type(label_type: str) -> int:
        if label_type not in made:
            label = OURS.cvataa.label_spec("x", None, type=label_type)
            made[label_type] = new_task([label], {"0.png": picture()})
        return made[label_type]

    return task_of_type


@pytest.mark.parametrize("conv_mask_to_poly", [False, True], ids=["", "conv_mask_to_poly"])
@pytest.mark.parametrize("task_type", TYPES)
@pytest.mark.parametrize("function_type", TYPES)
def test_label_types_are_compatible_in_the_same_cases(
    annotate, task_of_type, function_type, task_type, conv_mask_to_poly
):
    """What becomes of the spec, and of each type of annotation, is the same whoever runs it."""

    def outcome(pairing: Pairing, annotation: Callable[[Library], list[Any]]) -> bool:
        label = pairing.written.cvataa.label_spec("x", 1, type=function_type)
        spec = pairing.written.cvataa.DetectionFunctionSpec(labels=[label])
        function = a_function(spec, lambda context, image: annotation(pairing.written))
        try:
            annotate(pairing.run, task_of_type(task_type), function, conv_mask_to_poly=conv_mask_to_poly)
        except pairing.run.error:
            return False
        return True

    makers: dict[str, Callable[[Library], list[Any]]] = {
        "nothing": lambda lib: [],
        "rectangle": lambda lib: [lib.cvataa.rectangle(1, [1, 2, 3, 4])],
        "polygon": lambda lib: [lib.cvataa.polygon(1, POLYGON)],
        "mask": lambda lib: [lib.cvataa.mask(1, MASK)],
        "tag": lambda lib: [lib.cvataa.tag(1)],
    }
    sdk, ours = (
        {name: outcome(pairing, maker) for name, maker in makers.items()} for pairing in (BY_SDK, BY_US)
    )
    assert ours == sdk
    wanted = "polygon" if conv_mask_to_poly and function_type == "mask" else function_type
    assert ours["nothing"] == (wanted == "any" or task_type in ("any", wanted))


@pytest.mark.parametrize("pairing", [BY_SDK, SDK_BY_US, BY_US], ids=str)
@pytest.mark.parametrize("function_type", ["any", "mask"])
@pytest.mark.parametrize("task_type", ["any", "polygon"])
def test_a_mask_is_refused_where_polygons_were_asked_for(
    annotate, task_of_type, pairing, function_type, task_type
):
    cvataa = pairing.written.cvataa
    spec = cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec("x", 1, type=function_type)])
    function = a_function(spec, lambda context, image: [cvataa.mask(1, MASK)])
    with pytest.raises(
        pairing.run.error,
        match=r"function output (mask shape despite conv_mask_to_poly=True|shape of type 'mask' .*'polygon')",
    ):
        annotate(pairing.run, task_of_type(task_type), function, conv_mask_to_poly=True)


@pytest.mark.parametrize("task_type", ["rectangle", "mask", "tag"])
def test_what_the_sdk_says_of_types_that_only_the_task_knows_is_in_what_we_say(
    annotate, task_of_type, task_type
):
    """The label of the function is of any type; that of the task is not."""
    makers: list[Callable[[Library], Any]] = [
        lambda lib: lib.cvataa.polygon(1, POLYGON),
        lambda lib: lib.cvataa.tag(1),
    ]
    for maker in makers[: 1 if task_type == "tag" else 2]:
        messages = []
        for pairing in (BY_SDK, SDK_BY_US, BY_US):
            lib = pairing.written
            spec = lib.cvataa.DetectionFunctionSpec(labels=[lib.cvataa.label_spec("x", 1)])
            function = a_function(spec, lambda context, image, lib=lib, maker=maker: [maker(lib)])
            with pytest.raises(pairing.run.error) as error:
                annotate(pairing.run, task_of_type(task_type), function)
            messages.append(str(error.value))
        for message in messages[1:]:
            assert_says_what_the_sdk_says(messages[0], message)


MISMATCHES: dict[str, tuple[Callable[[Library], list[Any]], str]] = {
    "label": (lambda lib: [lib.cvataa.label_spec("boat", 1)], "label 'boat' is not in"),
    "label in capitals": (lambda lib: [lib.cvataa.label_spec("Car", 1)], "label 'Car' is not in"),
    "sublabel": (
        lambda lib: [lib.cvataa.skeleton_label_spec("body", 1, [lib.cvataa.keypoint_spec("foot", 1)])],
        "sublabel 'foot' of label 'body' is not in",
    ),
    "attribute": (
        lambda lib: [lib.cvataa.label_spec("car", 1, attributes=[lib.cvataa.text_attribute_spec("age", 1)])],
        "attribute 'age' of label 'car' is not in",
    ),
    "input type": (
        lambda lib: [
            lib.cvataa.label_spec("car", 1, attributes=[lib.cvataa.text_attribute_spec("doors", 1)])
        ],
        "attribute 'doors' of label 'car' has input type .*text.* in the function, but .*number",
    ),
    "number's values": (
        lambda lib: [
            lib.cvataa.label_spec(
                "car", 1, attributes=[lib.cvataa.number_attribute_spec("doors", 1, ["0", "4", "2"])]
            )
        ],
        "attribute 'doors' of label 'car' has .*values .* in the function, but",
    ),
    "select's values": (
        lambda lib: [
            lib.cvataa.label_spec(
                "car", 1, attributes=[lib.cvataa.select_attribute_spec("colour", 1, ["red"])]
            )
        ],
        "attribute 'colour' of label 'car' has .*values .* in the function, but",
    ),
    "attribute of a sublabel": (
        lambda lib: [
            lib.cvataa.skeleton_label_spec(
                "body",
                1,
                [lib.cvataa.keypoint_spec("head", 1, attributes=[lib.cvataa.text_attribute_spec("hat", 1)])],
            )
        ],
        "attribute 'hat' of sublabel 'head' of label 'body' has input type",
    ),
}


@pytest.mark.parametrize("pairing", [BY_SDK, SDK_BY_US, BY_US], ids=str)
@pytest.mark.parametrize(("bad", "message"), MISMATCHES.values(), ids=MISMATCHES)
def test_a_spec_that_does_not_fit_the_task_is_refused(annotate, task_id, pairing, bad, message):
    spec = pairing.written.cvataa.DetectionFunctionSpec(labels=bad(pairing.written))
    function = a_function(spec, lambda context, image: pytest.fail("it ran"))
    with pytest.raises(pairing.run.error, match=message):
        annotate(pairing.run, task_id, function)


def a_car(lib: Library, *attributes: Any, **fields: Any) -> Any:
    return lib.cvataa.label_spec("car", 1, attributes=list(attributes), **fields)


SEVERAL_MISMATCHES: dict[str, Callable[[Library], list[Any]]] = {
    "types": lambda lib: [a_car(lib, type="polygon")],
    "an attribute before the type": lambda lib: [
        a_car(lib, lib.cvataa.text_attribute_spec("age", 1), type="polygon")
    ],
    "an input type before an attribute that is not there": lambda lib: [
        a_car(lib, lib.cvataa.text_attribute_spec("doors", 1), lib.cvataa.text_attribute_spec("age", 2))
    ],
    "a label before the type of the next": lambda lib: [
        lib.cvataa.label_spec("boat", 2),
        a_car(lib, type="polygon"),
    ],
    "the type before the next label": lambda lib: [
        a_car(lib, type="polygon"),
        lib.cvataa.label_spec("boat", 2),
    ],
    "sublabels before the type": lambda lib: [
        lib.cvataa.skeleton_label_spec("car", 1, [lib.cvataa.keypoint_spec("wheel", 1)])
    ],
    "sublabels of a label that has none": lambda lib: [
        lib.cvataa.skeleton_label_spec("thing", 1, [lib.cvataa.keypoint_spec("wheel", 1)])
    ],
    "attributes before sublabels": lambda lib: [
        lib.cvataa.skeleton_label_spec(
            "body",
            1,
            [lib.cvataa.keypoint_spec("foot", 1)],
            attributes=[lib.cvataa.text_attribute_spec("age", 1)],
        )
    ],
}


@pytest.mark.parametrize("allow_unmatched_labels", [False, True], ids=["", "allow_unmatched_labels"])
@pytest.mark.parametrize(
    "bad",
    [bad for bad, _ in MISMATCHES.values()] + list(SEVERAL_MISMATCHES.values()),
    ids=[*MISMATCHES, *SEVERAL_MISMATCHES],
)
@pytest.mark.usefixtures("emptied")
def test_what_the_sdk_says_of_labels_is_in_what_we_say(annotate, task_id, bad, allow_unmatched_labels):
    """And where the SDK has nothing to say, we have nothing either, but of keypoints that are missing."""
    messages = []
    for pairing in (BY_SDK, SDK_BY_US, BY_US):
        spec = pairing.written.cvataa.DetectionFunctionSpec(labels=bad(pairing.written))
        try:
            annotate(
                pairing.run,
                task_id,
                a_function(spec, lambda context, image: []),
                allow_unmatched_labels=allow_unmatched_labels,
            )
            messages.append("")
        except pairing.run.error as error:
            messages.append(str(error))
    sdk, *ours = messages
    for message in ours:
        if sdk:
            assert_says_what_the_sdk_says(sdk, message)
        else:
            assert not message or "skeleton with fewer elements than expected" in message


@pytest.mark.usefixtures("emptied")
@pytest.mark.parametrize("pairing", [BY_SDK, SDK_BY_US, BY_US], ids=str)
def test_the_order_of_select_values_does_not_matter(annotate, read, task_id, pairing):
    lib = pairing.written
    attribute = lib.cvataa.select_attribute_spec("colour", 1, ["blue", "red"])
    spec = lib.cvataa.DetectionFunctionSpec(labels=[lib.cvataa.label_spec("car", 1, attributes=[attribute])])
    shape = lib.cvataa.rectangle
    annotate(
        pairing.run,
        task_id,
        a_function(spec, lambda c, i: [shape(1, [1, 2, 3, 4], attributes=[value(lib, 1, "red")])]),
    )
    [found] = read(task_id)
    assert ("colour", "red") in found["attributes"]


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
@pytest.mark.parametrize("pairing", [BY_SDK, BY_US], ids=str)
def test_a_threshold_that_is_none_is_refused(annotate, task_id, pairing, threshold):
    function = SimpleNamespace(spec=spec(pairing.written), detect=lambda context, image: [])
    with pytest.raises(ValueError, match="conf_threshold must be None or a number between 0 and 1"):
        annotate(pairing.run, task_id, function, conf_threshold=threshold)
