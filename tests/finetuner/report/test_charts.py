"""Charts are drawn of what there is, and of nothing else."""

from backend.registry.figures import Believability, Bin, ModelFigures, ScoreFigures
from backend.registry.metrics import CheckpointMetrics, CurvesMetrics, Look, TrainingPoint
from finetuner.report.charts import checkpoint_charts

LOOKS = tuple(
    Look(step=step, loss={"box": loss, "point": None}, iou={"box": 0.5, "point": 0.6})
    for step, loss in ((0, 0.9), (8, 0.5))
)


def test_without_curves_there_is_no_chart() -> None:
    assert checkpoint_charts(CheckpointMetrics()) == []
    assert checkpoint_charts(CheckpointMetrics(curves=CurvesMetrics())) == []


def test_losses_and_looks_have_a_chart_and_a_loss_that_was_no_number_is_left_out() -> None:
    training = (TrainingPoint(4, 0.9, 0.8, 0.1), TrainingPoint(8, None, None, None), TrainingPoint(12, 0.5, 0.4, 0.1))
    charts = checkpoint_charts(CheckpointMetrics(curves=CurvesMetrics(training=training, held_out=LOOKS)))
    assert [chart.title for chart in charts] == ["Loss", "IoU of a few held-out objects"]
    validated = CheckpointMetrics(curves=CurvesMetrics(validation=LOOKS))
    assert [chart.title for chart in checkpoint_charts(validated)] == [
        "IoU of validation objects, which chose the published weights"
    ]


def test_one_count_of_clicks_makes_no_curve() -> None:
    one, two = ModelFigures(clicks={0: 0.5}), ModelFigures(clicks={0: 0.5, 1: 0.75})
    assert checkpoint_charts(CheckpointMetrics(candidate=one)) == []
    charts = checkpoint_charts(CheckpointMetrics(candidate=two))
    assert [chart.title for chart in charts] == ["IoU after corrective clicks"]


def test_scores_are_drawn_against_the_iou_that_was_had() -> None:
    scores = ScoreFigures(predicted_iou=Believability(n=4, bins=(Bin(1, 0.4, 0.3), Bin(3, 0.9, 0.7))))
    charts = checkpoint_charts(CheckpointMetrics(candidate=ModelFigures(calibration=scores)))
    assert [chart.title for chart in charts] == ["True IoU over expected IoU"]
