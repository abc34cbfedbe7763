"""What was measured on held-out images, as a table for a terminal."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from backend.amounts import write_amount
from backend.cli.console import write_figure
from backend.registry.figures import PROMPTS, Comparison, Differences, Interval

_PROMPTS = {"box": "box", "point": "one click"}
_METRICS = {
    "iou": "IoU",
    "boundary_iou": "Boundary IoU",
    "over_area": "over-area",
    "under_area": "under-area",
    "hd95_px": "HD95, px",
}
_LESS_IS_BETTER = frozenset({"over_area", "under_area", "hd95_px"})
_LEAST = 0.0005  # of a difference that three decimals show


def draw_results(measured: Comparison, *, candidate: str = "candidate") -> Group:
    """Draw a row a prompt and metric: the models, and the candidate's difference to them with its 95 % interval.

    Args:
        measured: the figures; a model that was not measured has no column.
        candidate: the heading of the candidate's column.
    """
    models = {name: figures for name in ("base", "served", "candidate") if (figures := measured.model(name))}
    compared = {"base": measured.difference, "served": measured.difference_to_served}
    differences = {name: difference for name, difference in compared.items() if difference is not None}
    headings = {"base": "base", "served": "champion", "candidate": candidate}
    objects = write_amount(measured.objects or 0, "held-out object")
    table = Table(title=f"{objects} on {write_amount(measured.images or 0, 'image')}")
    table.add_column("prompt")
    table.add_column("measure")
    for name in models:
        table.add_column(headings[name], justify="right")
    for name in differences:
        table.add_column(f"to the {headings[name]} [95 %]", no_wrap=True)
    for prompt in PROMPTS:
        for metric, title in _METRICS.items():
            table.add_row(
                _PROMPTS[prompt] if metric == "iou" else "",
                title,
                *(write_figure(figures.with_prompt(prompt).figure(metric)) for figures in models.values()),
                *(_write_difference(difference, prompt, metric) for difference in differences.values()),
                end_section=metric == "hd95_px",
            )
    semantic = [
        f"without a prompt, {headings[name]}: IoU {write_figure(figures.semantic.iou)} over labels"
        for name, figures in models.items()
        if figures.semantic is not None
    ]
    return Group(table, *semantic)


def _write_difference(differences: Differences, prompt: str, metric: str) -> Text:
    interval = differences.get(prompt, {}).get(metric)
    if interval is None:
        return Text("not measured")
    mean, low, high = (f"{value:+.3f}" if abs(value) >= _LEAST else "0.000" for value in interval)
    return Text(f"{mean} [{low}, {high}]", style=_tone(interval, is_less_better=metric in _LESS_IS_BETTER))


def _tone(interval: Interval, *, is_less_better: bool) -> str:
    """The colour of a difference; none where its interval holds zero."""
    if interval.low <= 0 <= interval.high or abs(interval.mean) < _LEAST:
        return ""
    return "green" if (interval.mean < 0) == is_less_better else "red"
