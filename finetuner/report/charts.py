"""Draws the report's charts: the loss, the IoU over clicks, and the reliability of scores."""

from collections.abc import Mapping, Sequence

from backend.charts.chart import Chart, Series, draw_chart
from backend.registry.figures import PROMPTS, ScoreFigures
from backend.registry.metrics import CheckpointMetrics, CurvesMetrics, Look
from finetuner.report.tables import MODELS


def checkpoint_charts(metrics: CheckpointMetrics) -> list[Chart]:
    """The charts for which the metrics have points."""
    curves = metrics.curves or CurvesMetrics()
    learning = Series(
        name="training",
        style="plain",
        points=tuple((float(point.step), point.loss) for point in curves.training if point.loss is not None),
    )
    scores = None if metrics.candidate is None else metrics.candidate.calibration
    charts = [
        draw_chart("Loss", [learning, *_looks(curves.held_out, "loss", name="held out")], x_label="step"),
        draw_chart("IoU of a few held-out objects", _looks(curves.held_out, "iou", name="held out"), x_label="step"),
        draw_chart(
            "IoU of validation objects, which chose the published weights",
            _looks(curves.validation, "iou", name="validation"),
            x_label="step",
        ),
        draw_chart("IoU after corrective clicks", _clicks(metrics), x_label="corrective clicks after the first"),
        _reliability(scores or ScoreFigures()),
    ]
    return [drawn for drawn in charts if drawn is not None]


def _looks(looks: Sequence[Look], figure: str, *, name: str) -> list[Series]:
    """A line through the measurements for each kind of prompt; `figure` is "loss" or "iou"."""

    def values(look: Look) -> Mapping[str, float | None]:
        return look.loss if figure == "loss" else look.iou

    return [
        Series(
            name=f"{name}, {prompt}",
            style=prompt,
            has_dots=True,
            points=tuple(
                (float(look.step), value) for look in looks if (value := values(look).get(prompt)) is not None
            ),
        )
        for prompt in PROMPTS
    ]


def _clicks(metrics: CheckpointMetrics) -> list[Series]:
    """A line for each model whose IoU was measured after corrective clicks."""
    return [
        Series(
            name=heading,
            style=name,
            has_dots=True,
            points=tuple((float(k), value) for k, value in model.clicks.items() if value is not None),
        )
        for name, heading in MODELS.items()
        if (model := metrics.model(name)) is not None and len(model.clicks) > 1
    ]


def _reliability(scores: ScoreFigures) -> Chart | None:
    series = [
        Series(
            name=name,
            style=style,
            has_dots=True,
            points=tuple((bin_.mean_score, bin_.mean_iou) for bin_ in believability.bins),
            counts=tuple(bin_.predictions for bin_ in believability.bins),
        )
        for believability, name, style in (
            (scores.predicted_iou, "predicted by the decoder", "base"),
            (scores.calibrated, "calibrated", "candidate"),
        )
        if believability is not None
    ]
    return draw_chart(
        "True IoU over expected IoU",
        series,
        x_label="expected IoU",
        y_range=(0.0, 1.0),
        has_diagonal=True,
    )
