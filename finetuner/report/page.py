"""One HTML file that needs nothing else: no network, no script, light and dark, a desk or a telephone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from backend.charts.chart import Chart, Series, chart, whisker, with_charts
from backend.registry.checkpoint import Manifest
from finetuner.data.objects import SIZES
from finetuner.measuring.evaluation import METRICS, PROMPTS
from finetuner.report.overlays import Overlay

TITLES = {
    "iou": "IoU",
    "dice": "Dice",
    "boundary_iou": "Boundary IoU",
    "hd95_px": "HD95, px",
    "over_area": "over-area",
    "under_area": "under-area",
}
_HIGHER_IS_BETTER = frozenset({"iou", "dice", "boundary_iou"})
_MODELS = (("base", "base"), ("served", "served"), ("candidate", "this checkpoint"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of a table: figures of each model; `moved` tells how the difference is to be read."""

    title: str
    figures: tuple[str, ...]
    difference: str | None = None
    whisker: tuple[float, float, float] | None = None
    moved: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under headings; the first column's heading is `first`."""

    title: str
    first: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    has_differences: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a report shows besides the manifest."""

    weights_sha256: str
    improved: Sequence[Overlay] = field(default=())
    worsened: Sequence[Overlay] = field(default=())


def render(manifest: Manifest, shown: Shown) -> bytes:
    """The page for a checkpoint; of its metrics whatever is there."""
    metrics = manifest.metrics
    environment = Environment(
        loader=with_charts(PackageLoader("finetuner.report", ".")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    page = environment.get_template("page.html").render(
        manifest=manifest,
        shown=shown,
        metrics=metrics,
        tables=_tables(metrics),
        charts=[each for each in _charts(metrics) if each is not None],
        believable=_believable(metrics),
        data=metrics.get("data") or {},
    )
    return page.encode()


def _tables(metrics: Mapping[str, Any]) -> list[Table]:
    models = [(metrics[key], heading) for key, heading in _MODELS if metrics.get(key)]
    if not models:
        return []
    headings = tuple(heading for _, heading in models)
    reports = [each for each, _ in models]
    found = [_prompt_table(prompt, reports, headings, metrics.get("difference") or {}) for prompt in PROMPTS]
    goals = reports[-1].get("clicks_to") or {}
    if goals:
        rows = [
            Row(
                title=f"IoU {goal}",
                figures=tuple(
                    f"{each['clicks_to'][goal]['clicks']:.2f} ({each['clicks_to'][goal]['reached']:.0%} there)"
                    for each in reports
                ),
            )
            for goal in goals
        ]
        note = "The first click counts; where the last one did not get there, all that were made."
        found.append(Table(title="Clicks to reach", first="goal", headings=headings, rows=tuple(rows), note=note))
    found += _forgetting_table(metrics.get("forgetting") or {})
    found += _semantic_table(metrics.get("semantic") or {})
    for key, title in (("labels", "By label"), ("sizes", "By size of the object")):
        found += _group_tables(key, title, reports, headings)
    return found


def _semantic_table(semantic: Mapping[str, Any]) -> list[Table]:
    held_out = semantic.get("held_out")
    if not held_out:
        return []
    labels = held_out["labels"]
    groups = [*labels.items(), *([("mean over labels", held_out["mean"])] if len(labels) > 1 else [])]
    rows = tuple(Row(title=label, figures=tuple(_figure(found[name]) for name in METRICS)) for label, found in groups)
    note = "The semantic head on held-out images. " + (
        "Batches are pre-annotated with it." if semantic.get("served") else "It is not served."
    )
    headings = tuple(TITLES[name] for name in METRICS)
    return [Table(title="Without a prompt", first="label", headings=headings, rows=rows, note=note)]


def _forgetting_table(forgetting: Mapping[str, Any]) -> list[Table]:
    """Of the base and this checkpoint alone; the sentence where it could not be measured."""
    if not forgetting:
        return []
    rows = []
    for prompt, asked in (("box", "with its box"), ("point", "with one click")):
        for name in ("iou", "boundary_iou") if "difference" in forgetting else ():
            figures = [forgetting[each][prompt] for each in ("base", "candidate")]
            interval = forgetting["difference"][prompt][name]
            row = _metric_row(name, figures, interval, max(map(abs, interval)) or 1.0)
            rows.append(replace(row, title=f"{row.title} {asked}"))
    return [
        Table(
            title="Forgetting: other things than those learnt",
            first="measure" if rows else "",
            headings=("base", "this checkpoint") if rows else (),
            rows=tuple(rows),
            has_differences=bool(rows),
            note=forgetting["said"],
        )
    ]


def _prompt_table(
    prompt: str, reports: Sequence[Mapping[str, Any]], headings: tuple[str, ...], difference: Mapping[str, Any]
) -> Table:
    intervals: Mapping[str, Sequence[float]] = difference.get(prompt, {})
    # IoU, Dice and Boundary IoU on one scale; one flooded mask makes areas and distances a hundred times as wide.
    reach = {name: max(map(abs, each)) or 1.0 for name, each in intervals.items()}
    overlaps = max((reach[name] for name in _HIGHER_IS_BETTER & reach.keys()), default=1.0)
    reach |= dict.fromkeys(_HIGHER_IS_BETTER, overlaps)
    rows = [
        _metric_row(name, [each[prompt] for each in reports], intervals.get(name), reach.get(name, 1.0))
        for name in METRICS
    ]
    return Table(
        title={"box": "With the object's box", "point": "With one click"}[prompt],
        first="measure",
        headings=headings,
        rows=tuple(rows),
        has_differences=bool(intervals),
    )


def _metric_row(
    name: str, figures: Sequence[Mapping[str, float]], interval: Sequence[float] | None, reach: float
) -> Row:
    shown = tuple(_figure(each[name]) for each in figures)
    if interval is None:
        return Row(title=TITLES[name], figures=shown)
    mean, low, high = interval
    sign = 1 if name in _HIGHER_IS_BETTER else -1
    return Row(
        title=TITLES[name],
        figures=shown,
        difference=f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]",
        whisker=whisker(interval, reach=reach),
        moved="" if low <= 0 <= high else "better" if sign * mean > 0 else "worse",
    )


def _group_tables(key: str, title: str, reports: Sequence[Mapping[str, Any]], headings: tuple[str, ...]) -> list[Table]:
    found = reports[0].get(key) or {}
    if len(found) < 2:
        return []
    # A manifest keeps its keys in the order of the alphabet.
    groups = {
        each: found[each] for each in sorted(found, key=lambda name: (SIZES.index(name) if name in SIZES else 0, name))
    }
    return [
        Table(
            title=f"{title}: {TITLES[name]}",
            first="",
            headings=("masks", *headings),
            rows=tuple(
                Row(title=group, figures=(str(count["n"]), *(_figure(each[key][group][name]) for each in reports)))
                for group, count in groups.items()
            ),
            note="Over both kinds of prompt." if name == "boundary_iou" else "",
        )
        for name in ("iou", "boundary_iou")
    ]


def _charts(metrics: Mapping[str, Any]) -> list[Chart | None]:
    curves = metrics.get("curves") or {}
    training = curves.get("training") or []

    def looked_at(which: str, figure: str, *, name: str) -> list[Series]:
        return [
            Series(
                name=f"{name}, {prompt}",
                style=prompt,
                has_dots=True,
                points=tuple((float(each["step"]), float(each[figure][prompt])) for each in curves.get(which) or []),
            )
            for prompt in PROMPTS
        ]

    def held_out(figure: str) -> list[Series]:
        return looked_at("held_out", figure, name="held out")

    learnt = Series(name="training", style="plain", points=tuple((float(each[0]), float(each[1])) for each in training))
    clicks = [
        Series(
            name=heading,
            style=key,
            has_dots=True,
            points=tuple((float(k), float(value)) for k, value in metrics[key]["clicks"].items()),
        )
        for key, heading in _MODELS
        if metrics.get(key) and len(metrics[key]["clicks"]) > 1
    ]
    return [
        chart("Loss", [learnt, *held_out("loss")], x_label="step"),
        chart("IoU of a few held-out objects", held_out("iou"), x_label="step"),
        chart(
            "IoU of validation objects, which chose the weights that are kept",
            looked_at("validation", "iou", name="validation"),
            x_label="step",
        ),
        chart("IoU after corrective clicks", clicks, x_label="corrective clicks after the first one"),
        _reliability(metrics),
    ]


def _reliability(metrics: Mapping[str, Any]) -> Chart | None:
    told = (metrics.get("candidate") or {}).get("calibration") or {}
    series = [
        Series(
            name=name,
            style=style,
            has_dots=True,
            points=tuple((said, had) for _, said, had in told[key]["bins"]),
            counts=tuple(count for count, _, _ in told[key]["bins"]),
        )
        for key, name, style in (
            ("predicted_iou", "as the decoder says", "base"),
            ("calibrated", "calibrated", "candidate"),
        )
        if told.get(key)
    ]
    return chart(
        "IoU that was had, by the IoU that was expected",
        series,
        x_label="expected IoU",
        y_range=(0.0, 1.0),
        has_diagonal=True,
    )


def _believable(metrics: Mapping[str, Any]) -> Table | None:
    rows = [
        Row(
            title=f"{heading}: {title}",
            figures=tuple(_figure(found[name]) for name in ("ece", "correlation", "rank_correlation")),
        )
        for key, heading in _MODELS
        for name, title in (
            ("predicted_iou", "predicted IoU"),
            ("calibrated", "calibrated"),
            ("score", "with stability"),
        )
        if (found := ((metrics.get(key) or {}).get("calibration") or {}).get(name))
    ]
    headings = ("calibration error", "correlation", "rank correlation")
    return Table(title="Scores against the true IoU", first="", headings=headings, rows=tuple(rows)) if rows else None


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
