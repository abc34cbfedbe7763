"""Tables show the models that were measured, and how to read a difference."""

import pytest

from backend.registry.figures import (
    Believability,
    ClicksToGoal,
    Comparison,
    Interval,
    MaskFigures,
    ModelFigures,
    ScoreFigures,
)
from backend.registry.metrics import CheckpointMetrics, ForgettingMetrics, SemanticMetrics, SemanticReport
from finetuner.report.tables import figure_tables, figure_text, list_models, score_table

MASKS = MaskFigures(iou=0.5, dice=0.6, boundary_iou=0.4, hd95_px=2.0, over_area=0.1, under_area=0.2, n=4)
MODEL = ModelFigures(box=MASKS, point=MASKS)


def _metrics(**parts: object) -> CheckpointMetrics:
    return CheckpointMetrics(**{"base": MODEL, "candidate": MODEL, **parts})


def test_a_checkpoint_of_which_nothing_was_measured_has_no_table() -> None:
    assert figure_tables(CheckpointMetrics()) == []
    assert score_table(CheckpointMetrics()) is None


def test_models_stand_under_their_headings_in_one_order() -> None:
    assert list(list_models(_metrics(served=MODEL))) == ["base", "served", "this checkpoint"]
    box, point = figure_tables(_metrics())
    assert (box.title, point.title) == ("With the object's box", "With one click")
    assert box.headings == ("base", "this checkpoint")
    assert box.rows[0].figures == ("0.500", "0.500")
    assert not box.has_differences


@pytest.mark.parametrize(
    ("metric", "interval", "moved"),
    [
        ("iou", Interval(0.1, 0.05, 0.15), "better"),
        ("iou", Interval(-0.1, -0.15, -0.05), "worse"),
        ("iou", Interval(0.1, -0.05, 0.25), ""),
        ("over_area", Interval(-0.1, -0.15, -0.05), "better"),
        ("hd95_px", Interval(3.0, 1.0, 5.0), "worse"),
    ],
)
def test_an_interval_without_zero_is_better_or_worse_by_what_the_metric_wants(
    metric: str, interval: Interval, moved: str
) -> None:
    box = figure_tables(_metrics(difference={"box": {metric: interval}}))[0]
    (row,) = [row for row in box.rows if row.difference is not None]
    assert row.moved == moved
    assert row.difference == f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def test_clicks_to_a_goal_say_how_many_objects_got_there() -> None:
    clicked = MODEL.model_copy(update={"clicks_to": {"0.85": ClicksToGoal(clicks=2.5, reached=0.75)}})
    table = figure_tables(_metrics(candidate=clicked))[2]
    assert table.rows[0].title == "IoU 0.85"
    assert table.rows[0].figures == ("none", "2.50 (75% reach it)")


def test_one_label_alone_has_no_table_and_sizes_stand_from_small_to_large() -> None:
    labelled = MODEL.model_copy(
        update={"labels": {"Disc": MASKS}, "sizes": {"large": MASKS, "medium": MASKS, "small": MASKS}}
    )
    tables = figure_tables(_metrics(base=labelled, candidate=labelled))
    assert [table.title for table in tables[2:]] == [
        "By size of the object: IoU",
        "By size of the object: Boundary IoU",
    ]
    assert [row.title for row in tables[2].rows] == ["small", "medium", "large"]


def test_a_semantic_head_that_is_not_served_says_so() -> None:
    report = SemanticReport(mean=MASKS, labels={"Disc": MASKS, "Ring": MASKS})
    table = figure_tables(_metrics(semantic=SemanticMetrics(labels=("Disc", "Ring"), held_out=report)))[2]
    assert [row.title for row in table.rows] == ["Disc", "Ring", "mean over labels"]
    assert table.note.endswith("It was not promoted.")
    assert len(figure_tables(_metrics(semantic=SemanticMetrics(labels=("Disc",))))) == 2


def test_forgetting_that_was_not_measured_is_a_sentence() -> None:
    table = figure_tables(_metrics(forgetting=ForgettingMetrics(sentence="It was not measured.")))[2]
    assert (table.rows, table.note) == ((), "It was not measured.")


def test_scores_of_a_model_without_a_calibration_have_two_rows() -> None:
    scores = ScoreFigures(predicted_iou=Believability(ece=0.1), score=Believability(ece=0.2, correlation=0.5))
    table = score_table(CheckpointMetrics(**dict(Comparison(base=ModelFigures(calibration=scores)))))
    assert table is not None
    assert [row.title for row in table.rows] == ["base: predicted IoU", "base: with stability"]
    assert table.rows[1].figures == ("0.200", "0.500", "none")


def test_a_figure_that_was_not_measured_is_none() -> None:
    assert figure_text(None) == "none"
    assert figure_text(0.12345) == "0.123"
