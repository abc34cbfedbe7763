"""Renders a self-contained HTML page: no network, no script, light and dark, for large and small screens."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined

from backend.charts.chart import add_charts
from backend.registry.checkpoint import Manifest
from backend.registry.metrics import LabelMetrics
from finetuner.report.charts import checkpoint_charts
from finetuner.report.overlays import Overlay
from finetuner.report.tables import figure_tables, figure_text, score_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The report's content besides the manifest."""

    weights_sha256: str
    improved: Sequence[Overlay] = field(default=())
    worsened: Sequence[Overlay] = field(default=())


def render(manifest: Manifest, shown: Shown) -> bytes:
    """Render a checkpoint's page, with those of its metrics that exist."""
    environment = Environment(
        loader=add_charts(PackageLoader("finetuner.report", ".")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure_text
    page = environment.get_template("page.html").render(
        manifest=manifest,
        shown=shown,
        metrics=manifest.metrics,
        tables=figure_tables(manifest.metrics),
        charts=checkpoint_charts(manifest.metrics),
        believable=score_table(manifest.metrics),
        data=manifest.metrics.data,
        counted=tuple(LabelMetrics.model_fields),
    )
    return page.encode()
