"""Formats a checkpoint's figures as tables, beside those of the base and of the version served before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.charts.chart import place_whisker
from backend.registry.figures import METRICS, PROMPTS, Believability, Differences, Interval, MaskFigures, ModelFigures
from backend.registry.metrics import CheckpointMetrics, ForgettingMetrics, SemanticMetrics
from finetuner.data.objects import SIZES

TITLES = {
    "iou": "IoU",
    "dice": "Dice",
    "boundary_iou": "Boundary IoU",
    "hd95_px": "HD95, px",
    "over_area": "over-area",
    "under_area": "under-area",
}
MODELS = {"base": "base", "served": "served", "candidate": "this checkpoint"}  # by their name in Comparison
_HIGHER_IS_BETTER = frozenset({"iou", "dice", "boundary_iou"})
_BY_GROUP = ("iou", "boundary_iou")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a table.

    Attributes:
        title: the row's heading.
        figures: the models' figures, in the order of the table's headings.
        difference: the difference with its interval, as text.
        whisker: the same for a drawing: the mean and both ends as places from 0 to 100.
        moved: "better", "worse", or "" if the interval contains zero.
    """

    title: str
    figures: tuple[str, ...]
    difference: str | None = None
    whisker: tuple[float, float, float] | None = None
    moved: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under headings; `first` is the heading of the first column."""

    title: str
    first: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    has_differences: bool = False
    note: str = ""


def list_models(metrics: CheckpointMetrics) -> dict[str, ModelFigures]:
    """The measured models by heading."""
    return {heading: figures for name, heading in MODELS.items() if (figures := metrics.model(name)) is not None}


def figure_tables(metrics: CheckpointMetrics) -> list[Table]:
    """The tables of all measurements on held-out objects, except scores; none if no model was measured."""
    models = list_models(metrics)
    if not models:
        return []
    return [
        *(_prompt_table(prompt, models, metrics.difference or {}) for prompt in PROMPTS),
        *_clicks_table(models),
        *([] if metrics.forgetting is None else [_forgetting_table(metrics.forgetting)]),
        *_semantic_table(metrics.semantic),
        *_group_tables("By label", {heading: figures.labels for heading, figures in models.items()}),
        *_group_tables("By size of the object", {heading: figures.sizes for heading, figures in models.items()}),
    ]


def score_table(metrics: CheckpointMetrics) -> Table | None:
    """The table of the scores' distance from the true IoU; None if it was not measured."""
    rows = [
        Row(title=f"{heading}: {title}", figures=_believability(believability))
        for heading, figures in list_models(metrics).items()
        if (scores := figures.calibration) is not None
        for title, believability in (
            ("predicted IoU", scores.predicted_iou),
            ("calibrated", scores.calibrated),
            ("with stability", scores.score),
        )
        if believability is not None
    ]
    headings = ("calibration error", "correlation", "rank correlation")
    return Table(title="Scores against the true IoU", first="", headings=headings, rows=tuple(rows)) if rows else None


def figure_text(value: float | None) -> str:
    """A figure to three decimals, or "none"."""
    return "none" if value is None else f"{value:.3f}"


def _prompt_table(prompt: str, models: Mapping[str, ModelFigures], difference: Differences) -> Table:
    intervals = difference.get(prompt, {})
    # IoU, Dice and Boundary IoU share a scale; a single flooded mask makes areas and distances a hundred times as wide.
    reach = {name: _reach(interval) for name, interval in intervals.items()}
    overlaps = max((reach[name] for name in _HIGHER_IS_BETTER & reach.keys()), default=1.0)
    reach |= dict.fromkeys(_HIGHER_IS_BETTER, overlaps)
    figures = [model.with_prompt(prompt) for model in models.values()]
    rows = [
        _metric_row(name, figures, intervals.get(name), reach=reach.get(name, 1.0), title=TITLES[name])
        for name in METRICS
    ]
    return Table(
        title={"box": "With the object's box", "point": "With one click"}[prompt],
        first="measure",
        headings=tuple(models),
        rows=tuple(rows),
        has_differences=bool(intervals),
    )


def _metric_row(
    name: str, figures: Sequence[MaskFigures], interval: Interval | None, *, reach: float, title: str
) -> Row:
    shown = tuple(figure_text(model.figure(name)) for model in figures)
    if interval is None:
        return Row(title=title, figures=shown)
    mean, low, high = interval
    sign = 1 if name in _HIGHER_IS_BETTER else -1
    return Row(
        title=title,
        figures=shown,
        difference=f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]",
        whisker=place_whisker(interval, reach=reach),
        moved="" if low <= 0 <= high else "better" if sign * mean > 0 else "worse",
    )


def _reach(interval: Interval) -> float:
    return max(map(abs, interval)) or 1.0


def _clicks_table(models: Mapping[str, ModelFigures]) -> list[Table]:
    goals = list(models.values())[-1].clicks_to
    rows = tuple(
        Row(title=f"IoU {goal}", figures=tuple(_clicks(model, goal) for model in models.values())) for goal in goals
    )
    note = "The first click is included. An object that misses the goal counts with all its clicks."
    return [Table(title="Clicks to reach", first="goal", headings=tuple(models), rows=rows, note=note)] if rows else []


def _clicks(model: ModelFigures, goal: str) -> str:
    clicks = model.clicks_to.get(goal)
    if clicks is None or clicks.clicks is None or clicks.reached is None:
        return "none"
    return f"{clicks.clicks:.2f} ({clicks.reached:.0%} reach it)"


def _semantic_table(semantic: SemanticMetrics | None) -> list[Table]:
    if semantic is None or semantic.held_out is None:
        return []
    groups = dict(semantic.held_out.labels)
    if len(groups) > 1:
        groups["mean over labels"] = semantic.held_out.mean
    rows = tuple(
        Row(title=label, figures=tuple(figure_text(figures.figure(name)) for name in METRICS))
        for label, figures in groups.items()
    )
    note = "The semantic head on held-out images. " + (
        "It goes with this version, for batches." if semantic.is_served else "It was not promoted."
    )
    if semantic.is_alone:
        note += " It was promoted alone: prompts are answered as by the version before."
    if semantic.against is not None and semantic.difference:
        differences = ", ".join(
            f"{TITLES[name]} {interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
            for name, interval in semantic.difference.items()
        )
        note += f" Against {semantic.against}, which answered batches before: {differences}."
    headings = tuple(TITLES[name] for name in METRICS)
    return [Table(title="Without a prompt", first="label", headings=headings, rows=rows, note=note)]


def _forgetting_table(forgetting: ForgettingMetrics) -> Table:
    """Base and checkpoint on unrelated photographs; only the sentence if that could not be measured."""
    rows = [
        _metric_row(
            name,
            [(by_prompt or {}).get(prompt, MaskFigures()) for by_prompt in (forgetting.base, forgetting.candidate)],
            interval,
            reach=_reach(interval),
            title=f"{TITLES[name]} {asked}",
        )
        for prompt, asked in (("box", "with its box"), ("point", "with one click"))
        for name in _BY_GROUP
        if (interval := (forgetting.difference or {}).get(prompt, {}).get(name)) is not None
    ]
    return Table(
        title="Forgetting: unrelated photographs",
        first="measure" if rows else "",
        headings=("base", "this checkpoint") if rows else (),
        rows=tuple(rows),
        has_differences=bool(rows),
        note=forgetting.sentence,
    )


def _group_tables(title: str, models: Mapping[str, Mapping[str, MaskFigures]]) -> list[Table]:
    """A table per metric by groups, labels or sizes; none for a single group, which would repeat the means."""
    first = next(iter(models.values()))
    if len(first) < 2:
        return []
    # A manifest sorts its keys alphabetically.
    groups = sorted(first, key=lambda name: (SIZES.index(name) if name in SIZES else 0, name))
    return [
        Table(
            title=f"{title}: {TITLES[name]}",
            first="",
            headings=("masks", *models),
            rows=tuple(
                Row(
                    title=group,
                    figures=(
                        str(first[group].n),
                        *(figure_text(figures.get(group, MaskFigures()).figure(name)) for figures in models.values()),
                    ),
                )
                for group in groups
            ),
            note="Both kinds of prompt together." if name == "boundary_iou" else "",
        )
        for name in _BY_GROUP
    ]


def _believability(scores: Believability) -> tuple[str, ...]:
    return tuple(figure_text(value) for value in (scores.ece, scores.correlation, scores.rank_correlation))
