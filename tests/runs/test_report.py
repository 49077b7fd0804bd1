"""What a run reports: the scores that it counted through the real pipeline, as Markdown and as a picture."""

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt

from clips import clip
from prefect_cvat import annotate_task, track_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, polygon, rectangle, tag
from prefect_cvat.inference.provenance import Provenance
from prefect_cvat.rendering.run_report_markdown import render_markdown
from prefect_cvat.rendering.score_plot import plot_scores
from prefect_cvat.review.score_histogram import SCORE_BINS, score_bin
from prefect_cvat.runs.reports.report_model import RunReport

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7), label_spec("person", 8)])
HOSTILE = "<img src=x onerror=alert(1)> | **b** [a](javascript:b) `c` _d_ \\| www.e.com &lt;\n# f"


def report(**fields):
    defaults = {
        "task_id": 42,
        "task_name": "streets",
        "url": "https://cvat.example.com/tasks/42",
        "function": "nanodet_detection",
        "started": datetime(2025, 1, 1, tzinfo=UTC),
    }
    return RunReport(**(defaults | fields))


def in_bins(counts):
    """Counts of all ranges, from the nonzero ones."""
    return [counts.get(number, 0) for number in range(SCORE_BINS)]


def test_headline_says_what_was_added_and_what_to_look_at():
    assert report(added=1204, frames=310).headline == "1,204 added on 310 frames"
    assert report(added=1, frames=1, already_there=2000, removed=3, frames_failed=4).headline == (
        "1 added on 1 frame, 2,000 already there, 3 removed, 4 failed"
    )
    assert report(nothing_to_do="it has no frame").headline == "nothing to do: it has no frame"


# --- counting ---


@pytest.mark.parametrize("number", range(SCORE_BINS))
def test_a_score_on_the_border_of_two_ranges_is_in_the_upper_one(number):
    assert score_bin(float(f"{0.05 * number:.2f}")) == number
    assert score_bin(0.05 * number + 0.049) == number


def test_a_score_of_1_is_in_the_last_range():
    assert score_bin(1.0) == SCORE_BINS - 1


def test_counts_scores_by_label_over_all_batches(client, make_task):
    def detect(context, image):
        return [
            rectangle(7, [1, 2, 11, 12], score=0.5),
            rectangle(7, [1, 2, 21, 22], score=0.52),
            rectangle(7, [1, 2, 31, 32], score=1.0),
            rectangle(7, [1, 2, 31, 32], score=0.2),  # below the threshold
            rectangle(7, [90, 90, 99, 99], score=0.9),  # outside the image
            polygon(8, [1, 1, 9, 1, 9, 9]),
            tag(8),
        ]

    done = annotate_task(
        client,
        make_task(6),
        SimpleNamespace(spec=SPEC, detect=detect),
        conf_threshold=0.3,
        frames_per_batch=2,
    )
    assert done.batches == 3
    assert done.labels == {"car": 18, "person": 12}
    assert done.scores == {"car": in_bins({10: 12, 19: 6})}
    assert done.without_score == 12
    assert (done.below_threshold, done.outside) == (6, 6)
    assert RunReport.model_validate_json(done.model_dump_json()) == done


def test_second_run_reports_scores_of_existing_results(client, make_task):
    task_id = make_task(2)
    function = SimpleNamespace(
        spec=SPEC, detect=lambda context, image: [rectangle(8, [1, 2, 11, 12], score=0.8)]
    )
    first = annotate_task(client, task_id, function)
    second = annotate_task(client, task_id, function)
    assert (second.added, second.already_there) == (0, 2)
    assert first.scores == second.scores == {"person": in_bins({16: 2})}


def test_counts_scores_of_detections_of_tracks(client, video_task):
    pytest.importorskip("av", reason="PyAV, which videos need, is not installed")
    function = SimpleNamespace(
        spec=DetectionFunctionSpec(labels=[label_spec("car", 7)]),
        detect=lambda context, image: [rectangle(7, [10, 10, 40, 40], score=0.65)],
    )
    done = track_task(client, video_task(clip(range(8))), function)
    assert done.tracks == {"car": 1}
    assert done.scores == {"car": in_bins({13: 8})}


# --- as Markdown ---


def test_empty_report_has_no_tables():
    assert render_markdown(report()) == (
        "# [Task 42](<https://cvat.example.com/tasks/42>), streets\n\n"
        "**Completed**: 0 frames in 0.0 s (0.0 frames per second) by nanodet\\_detection.\n"
    )


def test_provenance_lists_only_options_that_are_set():
    usual = render_markdown(report(run="7", provenance=Provenance(function="finder")))
    assert provenance_rows(usual) == {
        "run": "7",
        "function": "finder",
        "images": "original",
        "existing annotations": "keep",
        "prefect\\-cvat": version("prefect-cvat").replace(".", "\\."),
    }
    made_by = Provenance(
        function="finder",
        conv_mask_to_poly=True,
        quality="compressed",
        unannotated=True,
        skip_existing_iou=0.6,
        options={"step": 2, "labels": None},
    )
    asked = provenance_rows(render_markdown(report(run="7", provenance=made_by)))
    assert asked.items() - provenance_rows(usual).items() == {
        ("masks", "converted to polygons"),
        ("images", "compressed"),
        ("option step", "2"),
        ("frames", "only those without annotations"),
        ("minimum IoU with existing annotations to be left out", "0\\.6"),
        ("existing annotations compared with", "manual"),
    }


def provenance_rows(text):
    table = text.partition("## Provenance\n\n")[2].partition("\n\n")[0]
    return dict(line.strip("| \n").split(" | ") for line in table.splitlines()[2:])


def test_nouns_agree_with_their_numbers():
    lines = report(
        frames=1,
        frames_from_cache=1,
        seconds=2,
        tracks={"car": 1},
        track_frames=3,
        keyframes=1,
        source_shapes=1,
        lost=1,
        refined=1,
        not_refined=1,
    ).lines()
    assert lines[1:] == [
        "1 frame in 2.0 s (0.5 frames per second)",
        "1 of them was detected in an earlier run",
        "annotations: none",
        "written: 0 added, 0 already there, 0 removed",
        "tracks: 1 car; 3.0 frames long on average, 1 keyframe",
        "tracked: 1 shape, lost 1 time",
        "refined: 1 shape; 1 stays, without a result",
    ]


def test_full_report_has_all_sections():
    text = render_markdown(
        report(
            seconds=10,
            frames=25,
            frames_from_cache=5,
            labels={"car": 3, "person": 9},
            tracks={"person": 2},
            track_frames=30,
            keyframes=11,
            scores={"car": in_bins({10: 2}), "person": in_bins({10: 2, 12: 1})},
            added=10,
            already_there=2,
            removed=1,
            clipped=4,
            outside=5,
            below_threshold=6,
            unmatched={"zebra": 7},
            unmatched_labels=["zebra", "giraffe"],
            left_out={"deleted": 8},
            frame_errors={17: "the model said no", 3: "so it did"},
            stage_seconds={"plan": 0.25, "detect": 9.5},
        )
    )
    tables = dict(re.findall(r"^## (.*)\n\n((?:\|.*\n)+)", text, re.MULTILINE))
    rows = {
        heading: [
            tuple(cell.strip() for cell in line.strip("|\n").split(" | ")) for line in table.splitlines()[2:]
        ]
        for heading, table in tables.items()
    }
    assert "25 frames in 10.0 s (2.5 frames per second)" in text
    assert "5 of them were detected in an earlier run" in text
    assert "Labels of the function that the task does not have: zebra, giraffe." in text
    assert rows == {
        "Annotations": [("person", "9", "2"), ("car", "3", "0"), ("**all**", "12", "2")],
        "On the server": [("added", "10"), ("already present", "2"), ("removed", "1")],
        "Tracks": [("mean length in frames", "15.0"), ("keyframes", "11")],
        "Shapes": [
            ("clipped at the edge of the image", "4"),
            ("left out: outside the image", "5"),
            ("left out: below the score threshold", "6"),
            ("left out: the task has no label zebra", "7"),
        ],
        "Frames left out": [("deleted", "8")],
        "Failed frames": [("3", "so it did"), ("17", "the model said no")],
        "Time": [("plan", "0.2"), ("detect", "9.5"), ("**the run** (stages overlap)", "10.0")],
        "Scores": [
            ("0.50 to 0.55", "4", "█" * 30),
            ("0.55 to 0.60", "0", ""),
            ("0.60 to 0.65", "1", "█" * 8),
            ("none", "7", ""),
        ],
    }


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
def test_incomplete_run_begins_with_error_state_and_remedy(outcome):
    text = render_markdown(report(frames=4, labels={"car": 9}, added=9), outcome, "the disk is full")
    head, _ = text.split("## Annotations")
    assert head.splitlines()[2].startswith(f"**{outcome.capitalize()}**: 4 frames")
    assert "> the disk is full" in head
    assert "9 annotations added by this run are on the server" in head
    assert "Run it again to complete it" in head

    one = render_markdown(report(frames=1, labels={"car": 1}, added=1), outcome)
    assert ": 1 frame in" in one
    assert "1 annotation added by this run is on the server" in one

    nothing = render_markdown(report(frames=4, labels={"car": 9}), outcome)
    assert "No annotations of this run are on the server" in nothing


def test_long_lists_are_truncated():
    text = render_markdown(
        report(
            frame_errors=dict.fromkeys(range(1000), "broken"),
            unmatched_labels=[f"label {number}" for number in range(79)],
        )
    )
    assert text.count("| broken |") == 20
    assert "1000 frames failed in total" in text
    assert "label 19 and 59 more" in text
    assert "label 20" not in text


def test_names_and_errors_are_escaped_in_markdown_and_html():
    text = render_markdown(
        report(
            task_name=HOSTILE,
            function=HOSTILE,
            labels={HOSTILE: 1},
            unmatched={HOSTILE: 1},
            unmatched_labels=[HOSTILE],
            frame_errors={1: HOSTILE},
            left_out={HOSTILE: 1},
        ),
        "failed",
        HOSTILE,
    )
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    as_text = " ".join(HOSTILE.split()).translate({38: "&amp;", 60: "&lt;", 62: "&gt;"})
    assert page.count(as_text) == 8
    ours = {"h1", "h2", "a", "p", "strong", "blockquote", "table", "thead", "tbody", "tr", "th", "td"}
    assert set(re.findall(r"<(\w+)", page)) == ours
    assert set(re.findall(r'href="([^"]*)"', page)) == {"https://cvat.example.com/tasks/42"}


# --- as a picture ---


SVG = "{http://www.w3.org/2000/svg}"


def bars(scores):
    """The bars and the square of the legend of the plot: x, height and color."""
    picture = ET.fromstring(plot_scores(scores))
    assert (picture.get("width"), picture.get("height")) == ("640", "320")
    return [
        (float(bar.get("x")), float(bar.get("height")), bar.get("fill"))
        for bar in picture.iter(f"{SVG}rect")
        if bar.get("x")
    ]


def test_scores_are_drawn_in_the_color_of_their_label():
    (bar, legend) = bars({"car": in_bins({10: 4})})
    assert bar[0] == 56 + 10 * 20
    assert bar[2] == legend[2]
    car, _, person, _ = bars({"car": in_bins({10: 4}), "person": in_bins({2: 2})})
    assert person[0] == 56 + 2 * 20
    assert person[1] == pytest.approx(car[1] / 2, abs=0.1)
    assert person[2] != car[2]


def test_bars_of_a_bin_are_stacked():
    picture = ET.fromstring(plot_scores({"car": in_bins({3: 7}), "person": in_bins({3: 5})}))
    lower, upper = [bar for bar in picture.iter(f"{SVG}rect") if bar.get("x") == str(56 + 3 * 20)]
    assert float(upper.get("y")) + float(upper.get("height")) == pytest.approx(float(lower.get("y")), abs=0.2)


@pytest.mark.parametrize(("count", "most"), [(1, "1"), (12, "15"), (99, "100"), (1_000_000, "1,000,000")])
def test_the_axis_ends_at_a_round_number(count, most):
    picture = ET.fromstring(plot_scores({"car": in_bins({0: count})}))
    texts = [text.text for text in picture.iter(f"{SVG}text") if text.get("text-anchor") == "end"]
    assert texts[-1] == most
    assert len(texts) <= 7


def test_names_in_the_legend_are_escaped_and_cut_and_further_labels_share_a_color():
    names = ["<b>&", "汽车", "a" * 200, *map(str, range(20))]
    picture = ET.fromstring(
        plot_scores({name: in_bins({number % 20: 1}) for number, name in enumerate(names)})
    )
    texts = [text.text for text in picture.iter(f"{SVG}text") if not text.get("text-anchor")]
    assert len(texts) == 8
    assert texts[-1] == "16 others"
    assert all(len(text) <= 18 for text in texts)
    assert plot_scores({"<b>&": in_bins({1: 1})}).count("<b>") == 0
